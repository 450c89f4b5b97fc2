package stage

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// insecureDevices are what an insecure step finds in /dev beside the usual ones;
// the list is BuildKit's.
var insecureDevices = []struct {
	name         string
	kind         uint32
	major, minor uint32
}{
	{"kmsg", unix.S_IFCHR, 1, 11},
	{"cuse", unix.S_IFCHR, 10, 203},
	{"fuse", unix.S_IFCHR, 10, 229},
	{"kvm", unix.S_IFCHR, 10, 232},
	{"net/tun", unix.S_IFCHR, 10, 200},
	{"loop-control", unix.S_IFCHR, 10, 237},
}

// loops is how many loop devices there are at least, after those in use.
const loops = 8

// makeInsecureDevices fills /dev, but not in a user namespace, where no device
// can be made: whoever builds there has no right to them.
func makeInsecureDevices(dev int) error {
	unix.Umask(0)
	defer unix.Umask(0o022)
	if err := unix.Mkdirat(dev, "net", 0o755); err != nil {
		return fmt.Errorf("make /dev/net: %w", err)
	}
	list := insecureDevices
	for i := range freeLoop() + loops {
		list = append(list[:len(list):len(list)], struct {
			name         string
			kind         uint32
			major, minor uint32
		}{fmt.Sprintf("loop%d", i), unix.S_IFBLK, 7, i})
	}
	for _, d := range list {
		err := unix.Mknodat(dev, d.name, d.kind|0o666, int(unix.Mkdev(d.major, d.minor)))
		if errors.Is(err, unix.EPERM) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("make /dev/%s: %w", d.name, err)
		}
	}
	return nil
}

// freeLoop is the first loop device that is not in use; 0 where nobody tells.
func freeLoop() uint32 {
	fd, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	n, err := unix.IoctlRetInt(fd, unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return 0
	}
	return uint32(n)
}
