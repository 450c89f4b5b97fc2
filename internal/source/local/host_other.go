//go:build !linux

package local

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/ocibuild/ocibuild/layer"
)

// hostRoot leans on os.Root, which asks the kernel for each element of a path:
// slower than what Linux offers, and as safe. It would follow a link that
// stays inside the directory; a link that was swapped in after the look is
// found out by comparing identities.
type hostRoot struct{ root *os.Root }

func openHostRoot(dir string) (*hostRoot, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &hostRoot{root}, nil
}

func (r *hostRoot) close() error { return r.root.Close() }

// open opens a regular file for reading, without waiting for anybody.
func (r *hostRoot) open(name string) (hostFile, fileStat, error) {
	f, err := r.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|openNonblock, 0)
	if err != nil {
		return hostFile{}, fileStat{}, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is no longer a regular file")
	}
	if err != nil {
		f.Close()
		return hostFile{}, fileStat{}, err
	}
	return hostFile{f}, statOf(info), nil
}

// hostFile is an open regular file.
type hostFile struct{ *os.File }

func (f hostFile) residency() residency { return unsure }

func (f hostFile) willNeed(int64) {}

func (f hostFile) stat() (fileStat, error) {
	info, err := f.Stat()
	if err != nil {
		return fileStat{}, err
	}
	return statOf(info), nil
}

// hostDir is one directory.
type hostDir struct {
	root *os.Root
	name string
}

func (r *hostRoot) openDir(name string) (*hostDir, error) {
	return &hostDir{r.root, name}, nil
}

func (d *hostDir) close() {}

func (d *hostDir) path(base string) string { return filepath.FromSlash(path.Join(d.name, base)) }

func (d *hostDir) names() ([]string, error) {
	f, err := d.root.Open(d.path("."))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d *hostDir) lstat(base string) (hostInfo, error) {
	fi, err := d.root.Lstat(d.path(base))
	if err != nil {
		return hostInfo{}, err
	}
	mode := fi.Mode()
	info := hostInfo{mode: unixMode(mode), stat: statOf(fi)}
	info.links, info.major, info.minor = statExtra(fi)
	switch {
	case mode.IsRegular():
		info.typ = layer.Regular
	case mode.IsDir():
		info.typ = layer.Directory
	case mode&fs.ModeSymlink != 0:
		info.typ = layer.Symlink
	case mode&fs.ModeNamedPipe != 0:
		info.typ = layer.Fifo
	case mode&fs.ModeSocket != 0:
		info.typ = socket
	case mode&fs.ModeCharDevice != 0:
		info.typ = layer.Char
	case mode&fs.ModeDevice != 0:
		info.typ = layer.Block
	}
	if info.typ != layer.Char && info.typ != layer.Block {
		info.major, info.minor = 0, 0
	}
	return info, nil
}

// unixMode is 0755 for everything on Windows, which has no such bits.
func unixMode(m fs.FileMode) uint32 {
	if runtime.GOOS == "windows" {
		return 0o755
	}
	mode := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		mode |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		mode |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		mode |= 0o1000
	}
	return mode
}

func (d *hostDir) readlink(base string) (string, error) {
	return d.root.Readlink(d.path(base))
}
