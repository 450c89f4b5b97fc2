package lsm

import (
	"sync"

	"golang.org/x/sys/unix"
)

// machine is where the kernel tells about itself.
type machine struct {
	attr string // of threads
	sys  string
}

var here = machine{attr: "/proc/thread-self/attr", sys: "/sys"}

// Modules tells what each security module can do for steps whose files are in dir.
func Modules(dir string) []Module {
	return []Module{here.appArmor(), here.seLinux(label(dir))}
}

// found is asked for once: what is confined, and by what, does not change while
// this process runs. That of SELinux goes with files of the right label.
var found = sync.OnceValues(func() (appArmor, seLinux *Profile) {
	return here.appArmor().Profile, here.seLinux(fileLabel).Profile
})

// For returns the profile of a step whose root is the directory at rootfs, or nil.
func For(rootfs string) *Profile {
	appArmor, seLinux := found()
	if appArmor != nil {
		return appArmor
	}
	if seLinux != nil && here.seLinux(label(rootfs)).Profile != nil {
		return seLinux
	}
	return nil
}

// label is that of a file, "" for none.
func label(path string) string {
	buf := make([]byte, 1024)
	n, err := unix.Lgetxattr(path, "security.selinux", buf)
	if err != nil {
		return ""
	}
	return text(buf[:n])
}
