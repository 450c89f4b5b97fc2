package snapshot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay describes a mount of overlayfs.
type overlay struct {
	lowers      []string // the lowest first
	upper, work string   // empty: it is only read
	user        bool     // attributes user.overlay.*
}

// flags are the options without a value that need no path.
func (o *overlay) flags() []string {
	var flags []string
	if o.upper != "" {
		// Without volatile, unmounting syncs the whole file system below.
		flags = append(flags, "volatile")
	}
	if o.user {
		flags = append(flags, "userxattr")
	}
	return flags
}

// settings keep the kernel's own defaults from making an upper directory that
// says less than it seems to: names without content, or directories elsewhere.
func (o *overlay) settings() [][2]string {
	s := [][2]string{{"index", "off"}}
	if !o.user { // in a user namespace both are off, and may not even be named
		s = append(s, [2]string{"metacopy", "off"}, [2]string{"redirect_dir", "nofollow"})
	}
	return s
}

// paths are open directories, so that no option becomes long.
type paths struct {
	lowers      []int // the topmost first
	upper, work int
}

func (p *paths) close() {
	for _, fd := range append(p.lowers, p.upper, p.work) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (o *overlay) open() (*paths, error) {
	p := &paths{upper: -1, work: -1} // which stay so where there are none
	open := func(path string) (int, error) {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return fd, nil
	}
	for _, path := range slices.Backward(o.lowers) {
		fd, err := open(path)
		if err != nil {
			p.close()
			return nil, err
		}
		p.lowers = append(p.lowers, fd)
	}
	if o.upper == "" {
		return p, nil
	}
	var err, err2 error
	p.upper, err = open(o.upper)
	p.work, err2 = open(o.work)
	if err := errors.Join(err, err2); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// hows says how each way of mount mounts, in their order.
var hows = []string{
	"overlays mounted with lowerdir+ by handles", "overlays mounted with lowerdir+ by paths",
	"overlays mounted with mount(2), which limits the number of layers",
}

// mount tries the ways to mount an overlay, newest kernel first, beginning with
// the one that worked the last time, and returns which one worked.
func (o *overlay) mount(target string, from int) (int, error) {
	p, err := o.open()
	if err != nil {
		return 0, err
	}
	defer p.close()
	ways := []func(*paths, string) error{
		func(p *paths, target string) error { return o.mountNew(p, target, setFd) },
		func(p *paths, target string) error { return o.mountNew(p, target, setPath) },
		o.mountOld,
	}
	var first error
	for i := from; i < len(ways); i++ {
		err := ways[i](p, target)
		if err == nil {
			return i, nil
		}
		if first == nil {
			first = err
		}
	}
	return 0, first
}

// setFd hands a directory over as a descriptor (Linux 6.13).
func setFd(fs int, key string, dir int) error { return unix.FsconfigSetFd(fs, key, dir) }

// setPath hands it over by a short name (Linux 6.8).
func setPath(fs int, key string, dir int) error {
	return unix.FsconfigSetString(fs, key, fdPath(dir))
}

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (o *overlay) mountNew(p *paths, target string, set func(int, string, int) error) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	err = o.configure(fs, p, set)
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return fmt.Errorf("overlay: %w%s", err, messages(fs))
	}
	// Device files of an image are data; a step gets those of its own /dev.
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOATIME)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(mnt)
	if err := unix.MoveMount(mnt, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount to %s: %w", target, err)
	}
	return nil
}

func (o *overlay) configure(fs int, p *paths, set func(int, string, int) error) error {
	for _, s := range o.settings() {
		if err := unix.FsconfigSetString(fs, s[0], s[1]); err != nil {
			return fmt.Errorf("option %s: %w", s[0], err)
		}
	}
	for _, f := range o.flags() {
		if err := unix.FsconfigSetFlag(fs, f); err != nil {
			return fmt.Errorf("option %s: %w", f, err)
		}
	}
	for _, fd := range p.lowers {
		if err := set(fs, "lowerdir+", fd); err != nil {
			return fmt.Errorf("option lowerdir+: %w", err)
		}
	}
	if p.upper < 0 {
		return nil
	}
	if err := set(fs, "upperdir", p.upper); err != nil {
		return fmt.Errorf("option upperdir: %w", err)
	}
	if err := set(fs, "workdir", p.work); err != nil {
		return fmt.Errorf("option workdir: %w", err)
	}
	return nil
}

// messages returns what the kernel has to say about a mount that failed.
func messages(fs int) string {
	var all strings.Builder
	buf := make([]byte, 512)
	for range 8 {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 0 {
			break
		}
		all.WriteString("; kernel: " + strings.TrimSpace(string(buf[:n])))
	}
	return all.String()
}

// mountOld uses mount(2), which takes one page of options and cuts the rest
// off without a word.
func (o *overlay) mountOld(p *paths, target string) error {
	var lowers []string
	for _, fd := range p.lowers {
		lowers = append(lowers, fdPath(fd))
	}
	options := o.flags()
	for _, s := range o.settings() {
		options = append(options, s[0]+"="+s[1])
	}
	options = append(options, "lowerdir="+strings.Join(lowers, ":"))
	if p.upper >= 0 {
		options = append(options, "upperdir="+fdPath(p.upper), "workdir="+fdPath(p.work))
	}
	data := strings.Join(options, ",")
	if len(data) >= os.Getpagesize()-1 {
		return fmt.Errorf("%d layers are too many for the mount call of this kernel", len(lowers))
	}
	if err := unix.Mount("overlay", target, "overlay", unix.MS_NODEV|unix.MS_NOATIME, data); err != nil {
		return fmt.Errorf("mount overlay on %s: %w", target, err)
	}
	return nil
}
