package stage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// findCommand tells what the kernel would say about a command that cannot be
// executed: runtimes tell it each in their own words and with their own exit
// codes, and some not at all.
func (t *tree) findCommand(c *Config) error {
	return search(c, func(name string) error { return t.executable(c, name) })
}

func (t *tree) executable(c *Config, name string) error {
	if !strings.HasPrefix(name, "/") {
		name = c.Cwd + "/" + name
	}
	fd, err := t.asUser(c, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// It is a regular file. The handle is opened anew, with our own rights.
	file, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	interpreter, err := interpreterOf(file)
	if err != nil || interpreter == "" {
		return err
	}
	if !strings.HasPrefix(interpreter, "/") {
		interpreter = c.Cwd + "/" + interpreter
	}
	found, err := t.open(interpreter)
	if err != nil {
		return errInterpreter
	}
	return unix.Close(found)
}

// asUser opens a regular file that the user of the step may execute.
func (t *tree) asUser(c *Config, name string) (fd int, err error) {
	if c.UID != 0 && !c.Insecure { // who would keep all rights
		if err := setFileIDs(c.UID, c.GID, c.Groups); err != nil {
			return -1, err
		}
		defer func() {
			if berr := setFileIDs(0, 0, nil); err == nil && berr != nil {
				unix.Close(fd)
				fd, err = -1, berr
			}
		}()
	}
	if fd, err = t.open(name); err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = unix.EACCES
	}
	if err == nil {
		err = mayExecute(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// setFileIDs changes whom the kernel takes this thread for when it looks at
// files, and nothing else: there is a way back.
func setFileIDs(uid, gid uint32, list []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(list)), uintptr(unsafe.Pointer(unsafe.SliceData(list))), 0)
	if errno != 0 {
		return fmt.Errorf("set the groups %v: %w", list, errno)
	}
	// The calls return the id before, whether they work or not. An id that is
	// not mapped is the runtime's to refuse.
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSGID, uintptr(gid), 0, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0)
	return nil
}

func mayExecute(fd int) error {
	var empty byte
	_, _, errno := unix.RawSyscall6(unix.SYS_FACCESSAT2, uintptr(fd), uintptr(unsafe.Pointer(&empty)),
		unix.X_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// interpreterOf returns the program that the kernel runs a file with, "" for
// none, or ENOEXEC if the file is neither a program nor a script.
func interpreterOf(file int) (string, error) {
	head := make([]byte, 256) // as much of it as the kernel looks at
	n, err := unix.Pread(file, head, 0)
	if err != nil {
		return "", err
	}
	head = head[:n]
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		words := bytes.Fields(line)
		if len(words) == 0 {
			return "", unix.ENOEXEC
		}
		return string(words[0]), nil
	}
	if bytes.HasPrefix(head, []byte("\x7fELF")) {
		if foreign(head) && !othersRegistered() {
			return "", unix.ENOEXEC
		}
		return loaderOf(file, head), nil
	}
	if othersRegistered() {
		return "", nil
	}
	return "", unix.ENOEXEC
}

// foreign tells whether an ELF file is for another processor than this program,
// and not for the older kind that many of its processors run, too.
func foreign(head []byte) bool {
	const x86, arm, amd64, arm64 = 3, 40, 62, 183
	own := make([]byte, 20)
	file, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(file)
	if n, err := unix.Pread(file, own, 0); err != nil || n < len(own) || len(head) < len(own) || head[5] != own[5] {
		return false
	}
	theirs, ours := binary.NativeEndian.Uint16(head[18:]), binary.NativeEndian.Uint16(own[18:])
	older := ours == amd64 && theirs == x86 || ours == arm64 && theirs == arm
	return theirs != ours && !older
}

// loaderOf reads the loader that an ELF file of 64 bits and little ends names,
// as those of all processors do that this program is built for. In doubt it is
// none, and the kernel has the last word.
func loaderOf(file int, head []byte) string {
	const headerSize, segmentSize, interp = 64, 56, 3
	if len(head) < headerSize || head[4] != 2 || head[5] != 1 {
		return ""
	}
	at := int64(binary.LittleEndian.Uint64(head[32:]))
	size, count := binary.LittleEndian.Uint16(head[54:]), binary.LittleEndian.Uint16(head[56:])
	if size != segmentSize || at < 0 {
		return ""
	}
	table := make([]byte, int(size)*int(count))
	if n, err := unix.Pread(file, table, at); err != nil || n < len(table) {
		return ""
	}
	for s := table; len(s) > 0; s = s[segmentSize:] {
		offset, length := binary.LittleEndian.Uint64(s[8:]), binary.LittleEndian.Uint64(s[32:])
		if binary.LittleEndian.Uint32(s) != interp || length == 0 || length > unix.PathMax || int64(offset) < 0 {
			continue
		}
		name := make([]byte, length)
		if n, err := unix.Pread(file, name, int64(offset)); err != nil || n < len(name) {
			return ""
		}
		return string(bytes.TrimRight(name, "\x00"))
	}
	return ""
}

// othersRegistered tells whether the machine runs files of further formats.
func othersRegistered() bool {
	entries, _ := os.ReadDir("/proc/sys/fs/binfmt_misc") // not there: none
	return len(entries) > 2                              // register and status
}
