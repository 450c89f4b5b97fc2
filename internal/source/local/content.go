package local

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"path"
	"runtime"
	"sync"
	"time"

	"github.com/ocibuild/ocibuild/layer"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// content reads a file and makes sure that it stays the one that was seen.
type content struct {
	local *Dir
	file  hostFile
	seen  file
	began time.Time
	read  int64
	got   fileStat // after the last byte
	done  bool
}

// open opens a file that is as it was seen, or has more bytes now. Of the latter,
// such as a log, what was seen is read; whoever reads it calls Learn.
func (l *Dir) open(f file) (*content, error) {
	began := time.Now()
	file, st, err := l.root.open(f.Name)
	if err != nil {
		return nil, inContext(f.Name, err)
	}
	if !st.sameContent(f.stat) && !st.grewFrom(f.stat) {
		_ = file.Close()
		return nil, errChanged(f.Name)
	}
	return &content{local: l, file: file, seen: f, began: began}, nil
}

// steady checks what was read of a file that grew: it must have the digest that
// was computed before, if one was, and still be what the file begins with.
func (c *content) steady(want digest.Digest) error {
	if c.got.sameContent(c.seen.stat) {
		return nil
	}
	if c.seen.Digest != "" && c.seen.Digest != want {
		return errChanged(c.seen.Name)
	}
	got, err := digest.SHA256.FromReader(io.NewSectionReader(c.file, 0, c.seen.stat.size))
	if err != nil {
		return inContext(c.seen.Name, err)
	}
	if got != want {
		return errChanged(c.seen.Name)
	}
	return nil
}

// Read checks the file after its last byte rather than at the end of file,
// which a reader that knows the size never asks for.
func (c *content) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	var n int
	var err error
	if c.read < c.seen.stat.size {
		n, err = c.next(p[:min(int64(len(p)), c.seen.stat.size-c.read)])
	}
	if errors.Is(err, io.EOF) {
		return n, errChanged(c.seen.Name)
	}
	if err != nil {
		return n, inContext(c.seen.Name, err)
	}
	if c.read < c.seen.stat.size {
		return n, nil
	}
	if c.got, err = c.file.stat(); err != nil {
		return n, inContext(c.seen.Name, err)
	}
	if !c.got.sameContent(c.seen.stat) && !c.got.grewFrom(c.seen.stat) {
		return n, errChanged(c.seen.Name)
	}
	if c.seen.Digest != "" { // not everybody calls Learn
		if err := c.steady(c.seen.Digest); err != nil {
			return n, err
		}
	}
	c.done = true
	return n, nil
}

// next reads on.
func (c *content) next(p []byte) (n int, err error) {
	if c.read == 0 {
		n, err = c.local.warmer.read(c.file, p)
	} else {
		n, err = c.file.Read(p)
	}
	c.read += int64(n)
	return n, err
}

func (c *content) Close() error { return c.file.Close() }

// Digest returns the digest of the content of a Regular entry.
func (l *Dir) Digest(ctx context.Context, e layer.Entry) (digest.Digest, error) {
	all, err := l.Digests(ctx, []layer.Entry{e})
	if err != nil {
		return "", err
	}
	return all[0], nil
}

// Digests returns the digests of many entries, in order; what is not Regular
// has an empty one. Files that the index does not know are read, several at a
// time, and hard links of one file once.
func (l *Dir) Digests(ctx context.Context, entries []layer.Entry) ([]digest.Digest, error) {
	out := make([]digest.Digest, len(entries))
	var unknown []int
	first := map[string]int{} // inode → index in entries that is hashed
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Type != layer.Regular:
		case e.Digest != "":
			out[i] = e.Digest
		default:
			if _, ok := first[e.Inode]; ok && e.Inode != "" {
				continue
			}
			first[e.Inode] = i
			unknown = append(unknown, i)
		}
	}
	if err := l.hashAll(ctx, entries, unknown, out); err != nil {
		return nil, err
	}
	for i := range entries {
		if entries[i].Type == layer.Regular && out[i] == "" {
			out[i] = out[first[entries[i].Inode]]
		}
	}
	return out, nil
}

// hashAll fills out for the entries at the given positions.
func (l *Dir) hashAll(ctx context.Context, entries []layer.Entry, positions []int, out []digest.Digest) error {
	g, ctx := errgroup.WithContext(ctx)
	work := make(chan int)
	for range min(len(positions), max(warmAtOnce, 2*runtime.GOMAXPROCS(0))) {
		g.Go(func() error {
			s := hashers.Get().(*hasher)
			defer hashers.Put(s)
			for i := range work {
				var err error
				if out[i], err = l.hash(ctx, entries[i], s); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		for _, i := range positions {
			select {
			case work <- i:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}

// hasher is what reading one file after the other needs.
type hasher struct {
	sum hash.Hash
	buf [128 << 10]byte
}

var hashers = sync.Pool{New: func() any { return &hasher{sum: sha256.New()} }}

func (l *Dir) hash(ctx context.Context, e layer.Entry, s *hasher) (digest.Digest, error) {
	f, err := l.seen(ctx, e)
	if err != nil || f.Digest != "" {
		return f.Digest, err
	}
	c, err := l.open(f)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	s.sum.Reset()
	for {
		n, err := c.Read(s.buf[:])
		s.sum.Write(s.buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if err := ctx.Err(); err != nil {
			return "", err
		}
	}
	var sum [sha256.Size]byte
	s.sum.Sum(sum[:0])
	d := digestOf(&sum)
	if err := c.steady(d); err != nil {
		return "", err
	}
	c.remember(sum, d)
	return d, nil
}

// Learn tells the digest of what was read, by somebody who computed it on the
// way, so that the file need not be read a second time. The error is that it is no content the file ever had.
func (c *content) Learn(d digest.Digest) error {
	if err := c.steady(d); err != nil || !c.done {
		return err
	}
	if sum, err := sumOf(d); err == nil && c.seen.Digest != d {
		c.remember(sum, d)
	}
	return nil
}

// remember keeps a digest for this build, and for the index when the file is
// still exactly what was seen.
func (c *content) remember(sum [sha256.Size]byte, dgst digest.Digest) {
	l := c.local
	sure := c.got == c.seen.stat && !racy(c.seen.stat, c.began)
	l.mu.Lock()
	defer l.mu.Unlock()
	d, base := l.dirs[path.Dir(c.seen.Name)], path.Base(c.seen.Name)
	if i, ok := d.search(base); ok {
		k := &d.all[i]
		k.sum, k.hashed, k.sure = sum, true, sure
	} else if f, ok := d.looked[base]; ok {
		f.Digest, f.sum, f.hashed, f.sure = dgst, sum, true, sure
		d.looked[base] = f
	}
	l.learned = l.learned || sure
}
