package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// program returns the file of this program for starting a stage. The step that
// the stage becomes can get hold of the file it came from and write to it when
// it is no longer running; so it comes from a read-only copy of the mount that
// the program lies on or, where the kernel refuses that, from a sealed copy of
// the bytes. Made once in a process, since the second is slow.
var program = sync.OnceValues(func() (*os.File, error) {
	fd, err := readOnlyProgram()
	if err != nil {
		var second error
		if fd, second = sealedProgram(); second != nil {
			return nil, fmt.Errorf("protect the builder's program: %w; %w", err, second)
		}
	}
	return os.NewFile(uintptr(fd), "program"), nil
})

// pathOf is the path of a file for a process that has it open under number fd.
// Only a number that is among the files given to a new process leads it to that
// file: starting it moves others over the numbers above.
func pathOf(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

const self = "/proc/self/exe"

func readOnlyProgram() (int, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	fd, err := unix.OpenTree(unix.AT_FDCWD, self, flags)
	if err != nil {
		// The program was started in another mount namespace. Its path may
		// still lead to the same file in this one.
		if fd, err = openSameFile(flags); err != nil {
			return -1, err
		}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make a mount of the program read-only: %w", err)
	}
	return fd, nil
}

func openSameFile(flags uint) (int, error) {
	name, err := os.Readlink(self)
	if err != nil {
		return -1, err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, name, flags)
	if err != nil {
		return -1, fmt.Errorf("copy the mount of %s: %w", name, err)
	}
	var want, got unix.Stat_t
	if err := unix.Stat(self, &want); err == nil {
		err = unix.Fstat(fd, &got)
		if err == nil && want.Dev == got.Dev && want.Ino == got.Ino {
			return fd, nil
		}
	}
	unix.Close(fd)
	return -1, fmt.Errorf("%s is not the running program any more", name)
}

func sealedProgram() (int, error) {
	src, err := os.Open(self)
	if err != nil {
		return -1, err
	}
	defer src.Close()
	fd, err := unix.MemfdCreate("ocibuild", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 there was no flag and every one could be executed
		fd, err = unix.MemfdCreate("ocibuild", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("copy the program to memory: %w", err)
	}
	copied := os.NewFile(uintptr(fd), "memfd")
	defer copied.Close()
	if _, err := io.Copy(copied, src); err != nil {
		return -1, fmt.Errorf("copy the program to memory: %w", err)
	}
	const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(copied.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return -1, fmt.Errorf("seal the copy of the program: %w", err)
	}
	// Executing a file that is open for writing is refused.
	return unix.Open(pathOf(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
