package snapshot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/tree"
)

// treeDir is the tree inside the directory of a layer. The outer directory's
// time says when it was last used; the inner one's belongs to the layer.
const treeDir = "fs"

// Ensure returns the trees of layers, given lowest first, and unpacks those
// that the store does not have, several at once.
//
// A tree usually depends on nothing but its layer. A layer with hard links to,
// or files in undescribed directories of, what lies below has a tree for each
// list of layers it lies upon.
func (m *Manager) Ensure(ctx context.Context, layers []Layer) ([]string, error) {
	if len(layers) > MaxLayers {
		return nil, fmt.Errorf("%d layers: no more than %d are supported", len(layers), MaxLayers)
	}
	e := &ensuring{m: m, layers: layers, paths: make([]string, len(layers)), ready: make([]chan struct{}, len(layers))}
	for i := range e.ready {
		e.ready[i] = make(chan struct{})
	}
	g, ctx := errgroup.WithContext(ctx)
	// Started in order, so that a layer that waits for lower ones never holds
	// the place one of them needs.
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for i := range layers {
		g.Go(func() error { return e.layer(ctx, i) })
	}
	return e.paths, g.Wait()
}

// ensuring is one run of Ensure.
type ensuring struct {
	m      *Manager
	layers []Layer
	paths  []string
	ready  []chan struct{} // closed when the path is set
}

func (e *ensuring) layer(ctx context.Context, i int) error {
	l := e.layers[i]
	if err := l.DiffID.Validate(); err != nil {
		return fmt.Errorf("diff ID %q: %w", l.DiffID, err)
	}
	alone := filepath.Join(e.m.trees, l.DiffID.Encoded())
	path, ok := e.find(alone, i)
	if !ok {
		unlock, err := e.m.dir.Lock(ctx, "tree "+string(e.m.flavour)+" "+l.DiffID.String())
		if err != nil {
			return err
		}
		unlock = sync.OnceFunc(unlock)
		defer unlock()
		if path, ok = e.find(alone, i); !ok {
			if path, err = e.unpack(ctx, alone, i, unlock); err != nil {
				return l.Failed(err)
			}
		}
	}
	markUsed(path)
	e.paths[i] = filepath.Join(path, treeDir)
	close(e.ready[i])
	return nil
}

// Failed says which layer, and of which image, an error is about.
func (l *Layer) Failed(err error) error {
	if l.Origin == "" {
		return fmt.Errorf("layer %s: %w", l.DiffID, err)
	}
	return fmt.Errorf("layer %s of %s: %w", l.DiffID, l.Origin, err)
}

// Has tells which of the layers, given lowest first, have a tree.
func (m *Manager) Has(layers []Layer) []bool {
	e := &ensuring{m: m, layers: layers}
	has := make([]bool, len(layers))
	for i, l := range layers {
		if l.DiffID.Validate() == nil {
			_, has[i] = e.find(filepath.Join(m.trees, l.DiffID.Encoded()), i)
		}
	}
	return has
}

// markUsed says when a tree was last used, to the hour: a step over a hundred
// layers need not write a hundred times.
func markUsed(path string) {
	now := time.Now()
	if fi, err := os.Lstat(path); err == nil && now.Sub(fi.ModTime()) < time.Hour {
		return
	}
	_ = os.Chtimes(path, now, now) // a lost mark of use costs at most an unpacking
}

func (e *ensuring) find(alone string, i int) (string, bool) {
	for _, p := range []string{alone, e.chained(alone, i)} {
		if _, err := os.Lstat(p); err == nil {
			return p, true
		}
	}
	return "", false
}

// chained is the path of a tree that depends on the layers below it.
func (e *ensuring) chained(alone string, i int) string {
	h := sha256.New()
	for _, l := range e.layers[:i] {
		fmt.Fprintln(h, l.DiffID)
	}
	return fmt.Sprintf("%s-%x", alone, h.Sum(nil)[:16])
}

// unpack makes a tree under another name and then gives it its own. The lock
// saves others the same work; renaming is safe without it.
func (e *ensuring) unpack(ctx context.Context, alone string, i int, unlock func()) (string, error) {
	tmp, err := e.m.temp.Dir("unpack")
	if err != nil {
		return "", err
	}
	var depends atomic.Bool
	lower := func(ctx context.Context) ([]string, error) {
		depends.Store(true)
		// Nobody may wait for us while we wait: the same layer may lie further
		// down, or another process may have the two the other way round.
		unlock()
		return e.below(ctx, i)
	}
	path := alone
	err = e.apply(ctx, e.layers[i], filepath.Join(tmp, treeDir), lower)
	if err == nil {
		if depends.Load() {
			path = e.chained(alone, i)
		}
		err = place(tmp, path)
	}
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(tmp))
	}
	return path, nil
}

// below waits for the trees under layer i.
func (e *ensuring) below(ctx context.Context, i int) ([]string, error) {
	for _, ready := range e.ready[:i] {
		select {
		case <-ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return e.paths[:i], nil
}

func (e *ensuring) apply(ctx context.Context, l Layer, to string, lower func(context.Context) ([]string, error)) error {
	return Unpack(ctx, l, to, tree.ApplyOptions{Limits: e.m.Limits, Form: e.m.flavour.form(), Lower: lower})
}

// Unpack unpacks a layer into a new directory, and checks that it is the layer.
func Unpack(ctx context.Context, l Layer, to string, o tree.ApplyOptions) error {
	if err := os.Mkdir(to, 0o755); err != nil {
		return err
	}
	blob, err := cache.OpenRegular(l.Blob)
	if err != nil {
		return err
	}
	defer blob.Close()
	raw, err := layer.NewReader(blob, l.MediaType)
	if err != nil {
		return err
	}
	defer raw.Close()
	o.Limits = o.OrDefault()
	sum := newSummer(raw, o.MaxBytes)
	defer sum.stop()
	if err := tree.Apply(ctx, sum, to, o); err != nil {
		return err
	}
	// The end of the archive is not the end of what the DiffID covers.
	if _, err := io.Copy(io.Discard, sum); err != nil {
		return fmt.Errorf("read to the end: %w", err)
	}
	if got := sum.digest(); got != l.DiffID {
		return fmt.Errorf("the blob holds %s", got)
	}
	return nil
}

// place renames a finished directory. If another process was faster, its tree
// is as good.
func place(tmp, path string) error {
	err := os.Rename(tmp, path)
	if errors.Is(err, fs.ErrNotExist) { // all trees were removed, to make room
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = os.Rename(tmp, path)
		}
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) {
		return os.RemoveAll(tmp)
	}
	return err
}

// summer reads ahead and hashes in a goroutine of its own, so that
// decompressing and hashing overlap with writing files.
type summer struct {
	full    chan chunk
	free    chan []byte
	stopped chan struct{}
	done    chan struct{}
	now     chunk
	sum     digest.Digest
}

type chunk struct {
	buf, rest []byte
	err       error
}

// newSummer reads no more than most bytes of r.
func newSummer(r io.Reader, most int64) *summer {
	s := &summer{full: make(chan chunk, 4), free: make(chan []byte, 4), stopped: make(chan struct{}), done: make(chan struct{})}
	for range cap(s.free) {
		s.free <- make([]byte, 256<<10)
	}
	go s.run(r, most)
	return s
}

func (s *summer) run(r io.Reader, most int64) {
	defer close(s.done)
	h := sha256.New()
	var total int64
	for {
		var buf []byte
		select {
		case buf = <-s.free:
		case <-s.stopped:
			return
		}
		n, err := io.ReadFull(r, buf)
		if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
			// ReadFull's word for a last, short piece; a reader's own error of
			// that name comes again at the next reading.
			err = nil
		}
		h.Write(buf[:n])
		if total += int64(n); total > most && err == nil {
			err = fmt.Errorf("layer is larger than %d bytes", most)
		}
		if errors.Is(err, io.EOF) {
			s.sum = digest.NewDigest(digest.SHA256, h)
		}
		s.full <- chunk{buf: buf, rest: buf[:n], err: err} // there is room for every buffer
		if err != nil {
			return
		}
	}
}

func (s *summer) Read(p []byte) (int, error) {
	for len(s.now.rest) == 0 {
		if s.now.err != nil {
			return 0, s.now.err
		}
		if s.now.buf != nil {
			s.free <- s.now.buf
		}
		s.now = <-s.full
	}
	n := copy(p, s.now.rest)
	s.now.rest = s.now.rest[n:]
	return n, nil
}

// digest is that of everything, once Read has returned io.EOF.
func (s *summer) digest() digest.Digest { return s.sum }

// stop ends the goroutine, which must be over before its reader is closed.
func (s *summer) stop() {
	close(s.stopped)
	<-s.done
}
