package plan

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/ocibuild/ocibuild/layer"
)

// unpack unpacks e into the destination if it is an archive: a tar, plain or
// compressed, told by its content and never by its name. Decompression happens
// in this process; no program of any image is run.
func (c *copier) unpack(ctx context.Context, e layer.Entry) (bool, error) {
	if ok, err := c.isArchive(ctx, e); !ok || err != nil {
		return false, err
	}
	name, _ := clean(c.op.Dest)
	dest, err := c.t.resolve(ctx, name)
	if err != nil {
		return false, err
	}
	if err := c.t.mkdirAll(ctx, dest, 0o755, c.own, c.at); err != nil {
		return false, err
	}
	raw, err := c.spool(ctx, e)
	if err != nil {
		return false, fmt.Errorf("archive %q: %w", "/"+e.Name, err)
	}
	if err := c.entries(ctx, raw, dest); err != nil {
		return false, fmt.Errorf("archive %q: %w", "/"+e.Name, err)
	}
	return true, nil
}

func (c *copier) isArchive(ctx context.Context, e layer.Entry) (bool, error) {
	f, err := c.src.Open(ctx, e)
	if err != nil {
		return false, err
	}
	defer f.Close()
	r, err := decompress(f)
	if err == nil {
		defer r.Close()
		_, err = tar.NewReader(r).Next()
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		err = fmt.Errorf("a zstd file that wants more than %d bytes of memory %w", maxWindow, errUnreadable)
	}
	if errors.Is(err, errUnreadable) {
		return false, fmt.Errorf("archive %q: %w; pack it in another way, or use COPY if it is not meant to be unpacked", "/"+e.Name, err)
	}
	// What seems to be compressed, and is not really, is a file like any other.
	return err == nil, nil
}

// errUnreadable says that a file may be an archive or not: it is packed in a way that we do not unpack.
var errUnreadable = errors.New("cannot be unpacked")

// entries plans what a tar holds below dest.
func (c *copier) entries(ctx context.Context, raw io.ReaderAt, dest string) error {
	defer c.settle()
	c.above = above{}
	in := layer.NewTarPositions(io.NewSectionReader(raw, 0, 1<<62))
	tr := tar.NewReader(in)
	limits := c.t.o.Limits.OrDefault()
	left := limits.MaxBytes // for sparse files, which may be larger than the archive
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n > limits.MaxEntries {
			return fmt.Errorf("it has more than %d entries", limits.MaxEntries)
		}
		start := in.Entry(h)
		data := content{data: io.NewSectionReader(raw, in.Offset(), h.Size)}
		if layer.IsSparse(h) {
			if left -= min(h.Size, left+1); left < 0 {
				return fmt.Errorf("with its sparse files it unpacks to more than %d bytes", limits.MaxBytes)
			}
			data = content{tree: sparseFile{raw: raw, at: start, size: h.Size}}
		}
		if err := c.unpackEntry(ctx, h, dest, data); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

func (c *copier) unpackEntry(ctx context.Context, h *tar.Header, dest string, data content) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	e, ok := entryOf(h)
	if !ok {
		return nil
	}
	c.own.apply(&e)
	if name == "." { // the archive's root is the directory that is there already
		return nil
	}
	parent, err := c.unpackDir(ctx, below{c.t, dest}, dirOf(name))
	if err != nil {
		return err
	}
	e.Name = join(join(dest, parent), path.Base(name))
	if e.Type == layer.Hardlink {
		return c.unpackLink(ctx, h, e, dest)
	}
	// Here, and not only when the layer is written: here we know of which archive.
	if err := c.t.o.Limits.Check(e); err != nil {
		return err
	}
	if err := c.t.touch(ctx, e.Name, c.at); err != nil {
		return err
	}
	n, err := c.replace(ctx, e)
	if err != nil {
		return err
	}
	switch e.Type {
	case layer.Regular:
		n.fill(n.entry(e.Name), data)
	case layer.Directory:
		c.unpacked = append(c.unpacked, dirTime{e.Name, e.ModTime})
	}
	return nil
}

// dirTime is what an archive says of a directory.
type dirTime struct {
	name string
	time int64
}

// settle gives the directories of an archive their times again, after all that is in them.
func (c *copier) settle() {
	for _, d := range c.unpacked {
		if n := c.t.find(d.name).n; n != nil && n.set && n.typ == layer.Directory {
			c.t.setTime(d.name, d.time)
		}
	}
	c.unpacked = nil
}

// below is a directory of a tree as a tree of its own: a link in an archive, or
// of the image, does not lead out of where the archive is unpacked.
type below struct {
	tree *Tree
	dir  string
}

// Lookup implements layer.Lookuper.
func (b below) Lookup(ctx context.Context, name string) (layer.Entry, error) {
	return b.tree.Lookup(ctx, join(b.dir, name))
}

// unpackDir returns where the directory of an entry is, and makes what is
// missing of it, for root. A link on the way has to lead to a directory.
func (c *copier) unpackDir(ctx context.Context, root below, name string) (string, error) {
	if name == "." {
		return ".", nil
	}
	at, rest := c.above.back(name)
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		var err error
		if at, err = c.unpackStep(ctx, root, at, part); err != nil {
			return "", err
		}
		c.above.went(name[:len(name)-len(rest)], at)
	}
	return at, nil
}

// above are the directories on the way to the entry before, by the archive's names,
// and where they are: the next entry mostly is near it.
type above struct {
	name string
	at   []dirAt
}

type dirAt struct {
	end int // of the archive's name
	dir string
}

// back goes back to the last directory that is on the way to name too, and returns
// where it is and the rest of the name.
func (a *above) back(name string) (dir, rest string) {
	for len(a.at) > 0 {
		last := a.at[len(a.at)-1]
		if leads(a.name[:last.end], name) {
			return last.dir, strings.TrimPrefix(name[last.end:], "/")
		}
		a.at = a.at[:len(a.at)-1]
	}
	return ".", name
}

// went notes that the directory of a name is at dir.
func (a *above) went(name, dir string) {
	a.name = strings.TrimSuffix(name, "/")
	a.at = append(a.at, dirAt{len(a.name), dir})
}

// unpackStep goes from the directory at to part, which is made if it is missing.
func (c *copier) unpackStep(ctx context.Context, root below, at, part string) (string, error) {
	next := join(at, part)
	e, err := root.Lookup(ctx, next)
	if errors.Is(err, fs.ErrNotExist) {
		return next, c.t.mkdirAll(ctx, join(root.dir, next), 0o755, &Owner{}, c.at)
	}
	if err == nil && e.Type == layer.Symlink {
		if next, err = layer.Resolve(ctx, root, next, true); err == nil {
			e, err = root.Lookup(ctx, next)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("the symbolic link /%s leads out of the destination, or nowhere", path.Join(root.dir, at, part))
		}
	}
	if err != nil {
		return "", err
	}
	if e.Type != layer.Directory {
		return "", fmt.Errorf("/%s is not a directory", join(root.dir, next))
	}
	return next, nil
}

// replace puts an entry in the place of what has its name; only a directory
// leaves a directory as it is.
func (c *copier) replace(ctx context.Context, e layer.Entry) (*node, error) {
	have, err := c.t.Lookup(ctx, e.Name)
	exists := err == nil
	if exists && (have.Type != layer.Directory || e.Type != layer.Directory) {
		c.above = above{} // it may be on the way
	}
	if exists && have.Type == layer.Directory && e.Type != layer.Directory {
		if err := c.t.remove(ctx, e.Name); err != nil {
			return nil, err
		}
	}
	n, err := c.t.put(ctx, e, content{})
	if err == nil && e.Type == layer.Directory && (!exists || have.Type != layer.Directory) {
		n.hides = true
	}
	return n, err
}

// unpackLink makes a further name of a file that the archive, or the tree
// below it, has already.
func (c *copier) unpackLink(ctx context.Context, h *tar.Header, e layer.Entry, dest string) error {
	to, err := inside(h.Linkname)
	if err != nil {
		return err
	}
	if to, err = layer.Resolve(ctx, below{c.t, dest}, to, false); err != nil {
		return err
	}
	to = join(dest, to)
	target, err := c.t.Lookup(ctx, to)
	if err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	if target.Type == layer.Directory {
		return fmt.Errorf("link to the directory %q", h.Linkname)
	}
	c.above = above{} // the new name may be on the way
	first, err := c.t.node(ctx, to)
	if err != nil {
		return err
	}
	if !first.set { // a file of the tree below: it becomes part of this layer too
		if first, err = c.t.put(ctx, target, content{tree: c.t.base, from: target.Name}); err != nil {
			return err
		}
	}
	if first.link == nil {
		first.link = c.t.newLink()
	}
	// What the archive says of the new name, it says of the file.
	first.link.said = &e
	if err := c.t.touch(ctx, e.Name, c.at); err != nil {
		return err
	}
	n, err := c.t.put(ctx, first.entry(e.Name), first.content())
	if err == nil {
		n.link = first.link
	}
	return err
}

// inside makes a tar's name a name of the tree, or refuses it.
func inside(name string) (string, error) {
	if strings.Contains(name, "..") {
		for part := range strings.SplitSeq(name, "/") {
			if part == ".." {
				return "", errors.New("its name leads out of the archive")
			}
		}
	}
	name, _ = clean(name)
	return name, nil
}

func entryOf(h *tar.Header) (layer.Entry, bool) {
	e := layer.Entry{
		Mode: uint32(h.Mode) & 0o7777, UID: h.Uid, GID: h.Gid, ModTime: h.ModTime.Unix(),
		Devmajor: h.Devmajor, Devminor: h.Devminor,
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
			if e.Xattrs == nil {
				e.Xattrs = map[string]string{}
			}
			e.Xattrs[name] = v
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, '\x00':
		e.Type, e.Size = layer.Regular, h.Size
	case tar.TypeLink:
		e.Type = layer.Hardlink
	case tar.TypeSymlink:
		e.Type, e.Linkname = layer.Symlink, h.Linkname
	case tar.TypeDir:
		e.Type = layer.Directory
	case tar.TypeChar:
		e.Type = layer.Char
	case tar.TypeBlock:
		e.Type = layer.Block
	case tar.TypeFifo:
		e.Type = layer.Fifo
	default:
		return e, false // headers that describe the archive, not a file
	}
	return e, true
}

// Close removes the temporary files of unpacked archives.
func (t *Tree) Close() {
	for _, f := range t.spools {
		f.Close()
		os.Remove(f.Name())
	}
	t.spools = nil
}
