package cache

import (
	"os"

	"golang.org/x/sys/unix"
)

func setAttribute(f *os.File, name, value string) error {
	return unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
}

func attribute(f *os.File, name string) (string, error) {
	var buf [16]byte
	n, err := unix.Fgetxattr(int(f.Fd()), name, buf[:])
	return string(buf[:max(n, 0)]), err
}
