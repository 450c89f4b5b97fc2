package notify

import (
	"bytes"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readString reads a path of the calling process.
func (s *supervisor) readString(at uint64) (string, error) {
	var buf [unix.PathMax]byte
	for n := 0; n < len(buf); {
		// Not beyond a page: the next one may not be there.
		page := 4096 - int((at+uint64(n))%4096)
		k, err := s.read(buf[n:min(len(buf), n+page)], at+uint64(n))
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(buf[n:n+k], 0); end >= 0 {
			return string(buf[:n+end]), nil
		}
		n += k
	}
	return "", unix.ENAMETOOLONG
}

// read reads at least one byte of the memory of the calling process.
func (s *supervisor) read(to []byte, at uint64) (int, error) {
	local := []unix.Iovec{{Base: &to[0]}}
	local[0].SetLen(len(to))
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(to)}}
	n, err := unix.ProcessVMReadv(int(s.req.pid), local, remote, 0)
	if err != nil || n == 0 {
		return 0, unix.EFAULT
	}
	return n, nil
}

func (s *supervisor) readAll(to []byte, at uint64) error {
	if n, err := s.read(to, at); err != nil || n != len(to) {
		return unix.EFAULT
	}
	return nil
}

// write changes the memory of the process, if that is still the one that waits.
func (s *supervisor) write(at uint64, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if !s.alive() {
		return unix.ESRCH
	}
	local := []unix.Iovec{{Base: &data[0]}}
	local[0].SetLen(len(data))
	remote := []unix.RemoteIovec{{Base: uintptr(at), Len: len(data)}}
	n, err := unix.ProcessVMWritev(int(s.req.pid), local, remote, 0)
	if err != nil || n != len(data) {
		return unix.EFAULT
	}
	return nil
}

// bytesOf are those of a structure of the kernel or a number.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// status reads a line of the status file of a process. It is empty when the
// process is gone.
func status(dir, field string) string {
	data, err := os.ReadFile(dir + "/status")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
