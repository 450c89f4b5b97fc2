package notify

import (
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mounts is what the step is told of mounts: its root, and /proc, for a process in
// a changed root sees none of those above it. It is empty if nothing is known.
func (s *supervisor) mounts(file string) string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	fields, after := mountOf(string(data), procRoot(s.caller()))
	if fields == nil {
		return ""
	}
	device, kind := fields[2], after[0]
	switch file {
	case "mountinfo":
		return fmt.Sprintf("%s %s %s / / rw,relatime - %s %s rw\n%[1]s0 %[1]s 0:0 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n",
			fields[0], fields[1], device, kind, after[1])
	case "mountstats":
		return fmt.Sprintf("device %s mounted on / with fstype %s\ndevice proc mounted on /proc with fstype proc\n", after[1], kind)
	}
	return fmt.Sprintf("%s / %s rw,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n", after[1], kind)
}

// mountOf returns the fields of the mount that a path lies on, those before and
// those after the hyphen: the innermost one, and of several in one place the last.
func mountOf(table, at string) (fields, after []string) {
	longest := -1
	for line := range strings.Lines(table) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 2 {
			continue
		}
		point := strings.TrimSuffix(unescape(l[4]), "/")
		if within(at, point) && len(point) >= longest {
			longest, fields, after = len(point), l, r
		}
	}
	return fields, after
}

// unescape turns the octal numbers back that the kernel writes for spaces and the
// like.
func unescape(text string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(text)
}

// fileOf is a file that can be read and nothing else.
func fileOf(text string) (int, error) {
	fd, err := unix.MemfdCreate("mounts", unix.MFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(text)); err != nil {
		return -1, err
	}
	return unix.Open("/proc/self/"+descriptor(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// sendHigh answers with a descriptor of the directory /proc that the calls on names
// in it are heard of by.
func (s *supervisor) sendHigh(fd int, cloexec bool) reply {
	for at := highFD; at < highFD+64; at++ {
		if readlink("/proc/"+s.caller()+"/"+descriptor(at)) != "" {
			continue
		}
		in := injection{id: s.req.id, flags: unix.SECCOMP_ADDFD_FLAG_SEND | unix.SECCOMP_ADDFD_FLAG_SETFD, srcfd: uint32(fd), newfd: uint32(at)}
		if cloexec {
			in.newflags = unix.O_CLOEXEC
		}
		if ioctl(s.listener, unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&in)) == nil {
			return reply{sent: true}
		}
		break // the process may have no so high ones
	}
	return s.sendFile(fd, cloexec)
}
