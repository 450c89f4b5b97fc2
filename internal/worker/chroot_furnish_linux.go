package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/stage"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
)

// furnisher puts into a tree what other rungs mount: by moving it there, and back.
type furnisher struct {
	*attacher
	tree *kept.Tree
}

// furnish puts there what every step has. There is nothing in /proc and /sys;
// calls on /proc are answered by package notify. What a step writes there is in no layer.
func (f *furnisher) furnish() error {
	dev, err := f.dev()
	if err != nil {
		return err
	}
	for _, p := range []kept.Put{{Target: "/dev", Source: dev}, {Target: "/proc"}, {Target: "/sys"}} {
		if p.Source == "" {
			if p.Source, err = f.s.temp.Dir("empty"); err != nil {
				return err
			}
			if err := os.Chmod(p.Source, 0o555); err != nil {
				return err
			}
		}
		p.Plain = true
		err := f.tree.Put(p)
		if errors.Is(err, kept.ErrPlace) {
			return fmt.Errorf("%s of the image must be a directory, not a symbolic link or a file", p.Target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

// devLinks lead to /proc, which is answered by package notify. Where it is not, a
// command that writes to /dev/stdout is to fail, and not to make a file of that name.
var devLinks = [][2]string{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"},
}

// dev makes a directory like /dev.
func (f *furnisher) dev() (string, error) {
	dir, err := f.s.temp.Dir("dev")
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		at := filepath.Join(dir, d.name)
		err := unix.Mknod(at, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor)))
		if err == nil {
			err = unix.Chmod(at, 0o666)
		}
		if err != nil {
			return "", fmt.Errorf("make /dev/%s: %w", d.name, err)
		}
	}
	for _, l := range devLinks {
		if err := os.Symlink(l[1], filepath.Join(dir, l[0])); err != nil {
			return "", err
		}
	}
	for name, mode := range map[string]uint32{"": 0o755, "pts": 0o755, "shm": 0o1777, "mqueue": 0o1777} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return "", err
		}
		if err := unix.Chmod(at, mode); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// network puts the files there that tell of the network. An image whose /etc is
// odd can still run steps.
func (f *furnisher) network(s *sandbox.Spec) error {
	for target, data := range map[string][]byte{"/etc/resolv.conf": s.ResolvConf, "/etc/hosts": s.Hosts} {
		if data == nil {
			continue
		}
		err := f.put(target, sandbox.Mount{Type: sandbox.File, Data: data, Mode: 0o644})
		if err != nil && !errors.Is(err, kept.ErrPlace) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	return nil
}

// mount puts one mount of the step in its place.
func (f *furnisher) mount(ctx context.Context, m Mount) error {
	if m.Type == MountBind {
		return f.lend(ctx, m)
	}
	sm, err := f.attach(ctx, m)
	if err != nil {
		return err
	}
	switch m.Type {
	case MountCache:
		return f.show(m.Target, kept.Put{Source: sm.Source, Borrowed: true})
	case MountSSH:
		return f.show(m.Target, kept.Put{Source: sm.Source, Linked: true})
	case MountHost:
		return f.showHost(ctx, sm.Source, m.Target)
	}
	return f.put(m.Target, sm)
}

// lend shows files of other layers, which are moved out of their tree for the
// time of the step.
func (f *furnisher) lend(ctx context.Context, m Mount) error {
	other, err := f.s.wholes.Prepare(ctx, m.Layers)
	if err != nil {
		return err
	}
	if m.Keep {
		f.kept[m.Target] = other
		if err := other.Begin(ctx); err != nil {
			return err
		}
		other.Spoil()
	} else {
		f.later(other.Close)
	}
	source, err := other.Lend(ctx, m.Selector)
	if err != nil {
		return err
	}
	return f.show(m.Target, kept.Put{Source: source, Borrowed: true})
}

// put makes a file or an empty directory and puts it there.
func (f *furnisher) put(target string, m sandbox.Mount) error {
	at := f.s.temp.Name("put")
	var err error
	if m.Type == sandbox.File {
		err = os.WriteFile(at, m.Data, 0o600)
	} else {
		err = os.Mkdir(at, 0o700)
	}
	if err != nil {
		return err
	}
	f.later(func() error { return os.RemoveAll(at) })   // if it was not put there
	if err := os.Lchown(at, m.UID, m.GID); err != nil { // before the mode, of which it would clear bits
		return err
	}
	if err := unix.Chmod(at, m.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: at, Err: err}
	}
	return f.show(target, kept.Put{Source: at})
}

// show is Put for what a step has asked for.
func (f *furnisher) show(target string, p kept.Put) error {
	p.Target = target
	p.Check = func(at string) error {
		if stage.Reserved(at) {
			return fmt.Errorf("it leads to %s of the image, where nothing may be mounted", at)
		}
		return nil
	}
	return f.tree.Put(p)
}

// showHost shows a copy of what this machine has. A file can be replaced.
func (f *furnisher) showHost(ctx context.Context, source, target string) error {
	at, err := f.copyHost(ctx, source)
	if err != nil {
		return err
	}
	p := kept.Put{Source: at}
	if replaceable(source) {
		if p.Original, err = f.copyHost(ctx, source); err != nil {
			return err
		}
	}
	return f.show(target, p)
}

// copyHost copies files of this machine: those themselves are not given away.
func (f *furnisher) copyHost(ctx context.Context, from string) (string, error) {
	at := f.s.temp.Name("host")
	f.later(func() error { return os.RemoveAll(at) })
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: from, Err: err}
	}
	copying := func() error { return copyFile(from, at, &st) }
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		copying = func() error { return copyDir(ctx, from, at, &st) }
	}
	if err := copying(); err != nil {
		return "", fmt.Errorf("copy %s: %w", from, err)
	}
	return at, nil
}
