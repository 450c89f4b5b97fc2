package plan

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/ocibuild/ocibuild/layer"
)

// maxWindow bounds what a zstd archive may ask for, in bytes.
const maxWindow = 128 << 20

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
	if err != nil {
		return false, nil // compressed, it seems, but not really: a file like any other
	}
	_, err = tar.NewReader(r).Next()
	return err == nil, nil
}

// spool gives access to the archive's tar in any order.
func (c *copier) spool(ctx context.Context, e layer.Entry) (io.ReaderAt, error) {
	f, err := c.src.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompress(f)
	if err != nil {
		return nil, err
	}
	if c.t.o.Spool == nil {
		data, err := io.ReadAll(r)
		return bytes.NewReader(data), err
	}
	out, err := c.t.o.Spool()
	if err != nil {
		return nil, err
	}
	c.t.spools = append(c.t.spools, out)
	_, err = io.Copy(out, r)
	return out, err
}

// decompress recognises gzip, bzip2, xz and zstd by their magic numbers.
func decompress(r io.Reader) (io.Reader, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, _ := br.Peek(6)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		return gzip.NewReader(br)
	case bytes.HasPrefix(magic, []byte("BZh")):
		return bzip2.NewReader(br), nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return xz.NewReader(br)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	}
	return br, nil
}

// entries plans what a tar holds below dest.
func (c *copier) entries(ctx context.Context, raw io.ReaderAt, dest string) error {
	counter := &countingReader{r: io.NewSectionReader(raw, 0, 1<<62)}
	tr := tar.NewReader(counter)
	for {
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
		if err := c.unpackEntry(ctx, h, dest, raw, counter.n); err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

func (c *copier) unpackEntry(ctx context.Context, h *tar.Header, dest string, raw io.ReaderAt, offset int64) error {
	name, err := inside(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeGNUSparse || h.PAXRecords["GNU.sparse.major"] != "" {
		return errors.New("sparse files in archives are not supported; pack it without --sparse")
	}
	e, ok := entryOf(h)
	if !ok {
		return nil
	}
	c.own.apply(&e)
	if name == "." { // the archive's root is the directory that is there already
		return nil
	}
	parent, err := c.t.resolve(ctx, path.Join(dest, path.Dir(name)))
	if err != nil {
		return err
	}
	if err := c.t.mkdirAll(ctx, parent, 0o755, c.own, c.at); err != nil {
		return err
	}
	e.Name = path.Join(parent, path.Base(name))
	if e.Type == layer.Hardlink {
		return c.unpackLink(ctx, h, e, dest)
	}
	n := c.replace(ctx, e)
	if e.Type == layer.Regular {
		n.content = content{data: io.NewSectionReader(raw, offset, h.Size)}
	}
	return nil
}

// replace puts an entry in the place of what has its name; only a directory
// leaves a directory as it is.
func (c *copier) replace(ctx context.Context, e layer.Entry) *node {
	have, err := c.t.Lookup(ctx, e.Name)
	exists := err == nil
	if exists && have.Type == layer.Directory && e.Type != layer.Directory {
		c.t.remove(e.Name)
	}
	n := c.t.put(e, content{})
	if e.Type == layer.Directory && (!exists || have.Type != layer.Directory) {
		n.hides = true
	}
	return n
}

// unpackLink makes a further name of a file that the archive, or the tree
// below it, has already.
func (c *copier) unpackLink(ctx context.Context, h *tar.Header, e layer.Entry, dest string) error {
	to, err := inside(h.Linkname)
	if err != nil {
		return err
	}
	to, err = layer.Resolve(ctx, c.t, path.Join(dest, to), false)
	if err != nil {
		return err
	}
	target, err := c.t.Lookup(ctx, to)
	if err != nil {
		return fmt.Errorf("link to %q: %w", h.Linkname, err)
	}
	if target.Type == layer.Directory {
		return fmt.Errorf("link to the directory %q", h.Linkname)
	}
	first, _ := c.t.find(to)
	if first == nil || !first.set { // a file of the tree below: it becomes part of this layer too
		first = c.t.put(target, content{tree: c.t.base, from: target.Name})
	}
	if first.link == nil {
		first.link = &link{}
	}
	// The owner that the archive gives the new name is that of the file.
	first.entry.UID, first.entry.GID = e.UID, e.GID
	target.Name, target.UID, target.GID = e.Name, e.UID, e.GID
	c.t.put(target, first.content).link = first.link
	return nil
}

// inside makes a tar's name a name of the tree, or refuses it.
func inside(name string) (string, error) {
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return "", errors.New("its name leads out of the archive")
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
	case tar.TypeReg, '\x00':
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

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Close removes the temporary files of unpacked archives.
func (t *Tree) Close() {
	for _, f := range t.spools {
		f.Close()
		os.Remove(f.Name())
	}
	t.spools = nil
}
