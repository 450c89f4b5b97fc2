package local

import (
	"context"
	"path"
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
func (l *Dir) list(ctx context.Context, name string, d *directory) error {
	if d.listed {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r := l.reading(name, d.verdict)
	if r.err != nil {
		return r.err
	}
	files := newLister(len(r.files))
	var notes []string
	for i := range r.files {
		f := &r.files[i]
		if f.note != "" {
			notes, r.out = append(notes, f.note), append(r.out, path.Base(f.Name))
			continue
		}
		left, err := l.left(ctx, f)
		if err != nil {
			return err
		}
		base := path.Base(f.Name)
		if seen, ok := d.looked[base]; ok {
			f.file = seen // each file is looked at once
		}
		if left {
			files.add(base, &f.file)
		} else {
			r.out = append(r.out, base)
		}
	}
	slices.Sort(r.out)
	d.files, d.out, d.notes, d.listed, d.looked = files.done(), slices.Clip(r.out), notes, true, nil
	l.goAhead(ctx, name)
	return nil
}

// left tells whether a file is part of the tree.
func (l *Dir) left(ctx context.Context, f *listed) (bool, error) {
	if f.Type != layer.Directory {
		return true, nil
	}
	if _, ok := l.dirs[f.Name]; !ok {
		l.dirs[f.Name] = &directory{verdict: f.verdict}
	}
	if !f.verdict.out {
		return true, nil
	}
	return l.anyLeft(ctx, f.Name, f.verdict)
}

func (l *Dir) say(note string) {
	if l.Note != nil {
		l.Note(note)
	}
}

// look asks the host about one file, and says why it cannot be part of an image.
// The digest comes from the index when it knows the file. Extended attributes are
// not read: they speak of the machine and its user (a browser notes where a file
// was downloaded from), and BuildKit does not send them either.
func (l *Dir) look(h *hostDir, old block, base, name string) (f file, note string, err error) {
	info, err := h.lstat(base)
	if err != nil {
		return f, "", inContext(name, err)
	}
	f.stat = info.stat
	f.Name, f.Type, f.Mode = name, info.typ, info.mode
	if info.typ == socket || info.typ == 0 {
		return f, name + " was left out: it is a socket or of a kind that images do not know", nil
	}
	f.ModTime = floorSeconds(info.stat.mtime)
	f.Devmajor, f.Devminor = info.major, info.minor
	switch info.typ {
	case layer.Symlink:
		f.Mode = 0o777 // what Linux shows; elsewhere it depends on the umask
		if f.Linkname, err = h.readlink(base); err != nil {
			return f, "", inContext(name, err)
		}
	case layer.Regular:
		f.Size = info.stat.size
		if info.links > 1 {
			f.Inode = strconv.FormatUint(info.stat.dev, 10) + ":" + strconv.FormatUint(info.stat.ino, 10)
		}
		f.sum, f.hashed = old.get(base, info.stat)
		f.sure = f.hashed
	}
	return f, "", nil
}

// floorSeconds rounds towards the past, before 1970 too, as the kernel does.
func floorSeconds(ns int64) int64 {
	s := ns / 1e9
	if ns%1e9 < 0 {
		s--
	}
	return s
}
