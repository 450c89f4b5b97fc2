package source

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strconv"

	"github.com/ocibuild/ocibuild/layer"
)

// socket is the type of what no layer can hold.
const socket layer.Type = 's'

// hostInfo is what the host says about one file, before patterns and owners.
type hostInfo struct {
	typ          layer.Type // 0: nothing that we know
	mode         uint32
	links        uint64
	major, minor int64
	stat         fileStat
}

// list reads a directory once, and the directories below it as far as needed
// to tell whether something in them is left. It needs l.mu.
func (l *Local) list(ctx context.Context, name string, d *localDir) error {
	if d.listed {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	h, err := l.root.openDir(name)
	if err != nil {
		return inContext(name, err)
	}
	defer h.close()
	bases, err := h.names()
	if err != nil {
		return inContext(name, err)
	}
	slices.Sort(bases)
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	files := make([]localFile, 0, len(bases))
	for _, base := range bases {
		f, err := l.judged(ctx, h, d, base, prefix+base)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since the directory was read
		}
		if err != nil {
			return err
		}
		if f.Type != 0 {
			files = append(files, f)
		}
	}
	d.files, d.listed, d.looked = files, true, nil
	l.index.saw(name, bases)
	return nil
}

// judged returns the file base of the directory d, with type 0 when it is not
// part of the tree.
func (l *Local) judged(ctx context.Context, h *hostDir, d *localDir, base, name string) (localFile, error) {
	v := l.ignore.judge(name, d.verdict)
	if v.out && !l.ignore.mayHold(name, v) {
		return localFile{}, nil
	}
	f, ok := d.looked[base]
	if !ok {
		var err error
		if f, err = l.look(h, base, name); err != nil {
			return f, err
		}
	}
	if f.Type != layer.Directory {
		if v.out {
			return localFile{}, nil
		}
		return f, nil
	}
	if _, ok := l.dirs[name]; !ok {
		l.dirs[name] = &localDir{verdict: v}
	}
	if v.out {
		left, err := l.anyLeft(ctx, name, v)
		if err != nil || !left {
			return localFile{}, err
		}
	}
	return f, nil
}

// look asks the host about one file. The digest, and that there are no
// attributes, come from the index when it knows the file.
func (l *Local) look(h *hostDir, base, name string) (localFile, error) {
	info, err := h.lstat(base)
	if err != nil {
		return localFile{}, inContext(name, err)
	}
	if info.typ == socket || info.typ == 0 {
		if l.Note != nil {
			l.Note(name + " was left out: it is a socket or of a kind that images do not know")
		}
		return localFile{}, nil
	}
	f := localFile{stat: info.stat}
	f.Name, f.Type, f.Mode = name, info.typ, info.mode
	f.ModTime = floorSeconds(info.stat.mtime)
	f.Devmajor, f.Devminor = info.major, info.minor
	switch info.typ {
	case layer.Symlink:
		f.Mode = 0o777 // what Linux shows; elsewhere it depends on the umask
		if f.Linkname, err = h.readlink(base); err != nil {
			return localFile{}, inContext(name, err)
		}
	case layer.Regular:
		f.Size = info.stat.size
		if info.links > 1 {
			f.Inode = strconv.FormatUint(info.stat.dev, 10) + ":" + strconv.FormatUint(info.stat.ino, 10)
		}
		dgst, bare := l.index.get(name, info.stat)
		f.Digest = dgst
		if !bare {
			f.Xattrs = h.xattrs(base)
		}
	case layer.Directory:
		f.Xattrs = h.xattrs(base)
	}
	return f, nil
}

// floorSeconds rounds towards the past, before 1970 too, as the kernel does.
func floorSeconds(ns int64) int64 {
	s := ns / 1e9
	if ns%1e9 < 0 {
		s--
	}
	return s
}
