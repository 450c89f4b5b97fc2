package local

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/ocibuild/ocibuild/layer"
)

// Dir is a build-context directory of the host, as a [layer.Tree] of what
// its ignore patterns leave.
//
// It is a snapshot: each directory is read once, each file is looked at once,
// and content that no longer belongs to what was seen is an error, never bytes
// that silently differ from the digest a cache key was made of. Everything is
// owned by 0:0. Symbolic links are shown and never followed, so nothing outside
// the directory can be reached, whatever somebody swaps in meanwhile.
// A Dir may be used by several goroutines.
type Dir struct {
	// Note is told what was left out although no pattern asked for it
	// (sockets). Nil is fine; set it before the first use.
	Note func(message string)

	dir    string
	root   *hostRoot
	index  *Index
	ignore *ignorer

	mu      sync.Mutex // guards dirs and everything in them, ahead and learned
	dirs    map[string]*directory
	ahead   map[string]chan listing // of directories that are being read
	readers sync.WaitGroup
	learned bool // there is news for the index
	warmer  warmer
}

var _ layer.Tree = (*Dir)(nil)

// directory is what is known of one directory.
type directory struct {
	verdict verdict
	listed  bool
	files            // complete when listed
	out     []string // sorted names that patterns leave out; complete when listed
	notes   []string // what is to be said to who asks for the listing
	looked  map[string]file
}

// file is an entry with the identity that its content is checked against.
type file struct {
	layer.Entry
	stat   fileStat
	sum    [sha256.Size]byte
	hashed bool // sum is the digest, which Entry need not have
	sure   bool // it will be the digest for as long as stat is the same
}

// Open opens the build context dir, leaving out what the ignore patterns
// (as of [ReadIgnore]) match, and if there are include patterns what none of
// them matches. A nil index remembers no digests.
func Open(dir string, ignore, include []string, index *Index) (*Dir, error) {
	ig, err := newIgnorer(ignore, include)
	if err != nil {
		return nil, err
	}
	root, err := openHostRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("build context %s: %w", dir, cause(err))
	}
	l := &Dir{dir: dir, root: root, index: index, ignore: ig, ahead: map[string]chan listing{}}
	l.dirs = map[string]*directory{".": {}}
	index.use(l)
	return l, nil
}

// Close gives back the directory. It does not save the index.
func (l *Dir) Close() error {
	l.readers.Wait()
	return l.root.close()
}

// Lookup implements [layer.Tree]. What the ignore patterns leave out does not
// exist; the error says that it is they.
func (l *Dir) Lookup(ctx context.Context, name string) (layer.Entry, error) {
	if err := ctx.Err(); err != nil {
		return layer.Entry{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.find(ctx, name)
	return f.Entry, err
}

// ReadDir implements [layer.Tree]. The attributes of the entries are shared
// between calls: they are not to be changed.
func (l *Dir) ReadDir(ctx context.Context, name string) ([]layer.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, err := l.directory(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := l.list(ctx, name, d); err != nil {
		return nil, err
	}
	for _, note := range d.notes {
		l.say(note)
	}
	d.notes = nil
	return d.entries(name), nil
}

// Open implements [layer.Tree]. Reading gives exactly e.Size bytes of the file
// that was seen, or an error that names it.
func (l *Dir) Open(ctx context.Context, e layer.Entry) (io.ReadCloser, error) {
	f, err := l.seen(ctx, e)
	if err != nil {
		return nil, err
	}
	l.warmer.opening(ctx, l, f.Name)
	return l.open(f)
}

// seen finds the file behind an entry that was handed out earlier.
func (l *Dir) seen(ctx context.Context, e layer.Entry) (file, error) {
	if err := ctx.Err(); err != nil {
		return file{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := l.find(ctx, e.Name)
	if err != nil {
		return f, err
	}
	if f.Type != layer.Regular || e.Type != layer.Regular {
		return f, fmt.Errorf("%s is not a regular file", e.Name)
	}
	if f.Size != e.Size {
		return f, errChanged(e.Name)
	}
	return f, nil
}

// find needs l.mu.
func (l *Dir) find(ctx context.Context, name string) (file, error) {
	if !fs.ValidPath(name) {
		return file{}, notExist(name)
	}
	if name == "." {
		f, err := l.lookUp(l.dirs["."], ".", ".", ".")
		f.ModTime = 0 // when the directory of a context was last changed says nothing of what is in it
		return f, err
	}
	parent, base := path.Dir(name), path.Base(name)
	d, err := l.directory(ctx, parent)
	if err != nil {
		return file{}, renamed(err, name)
	}
	v := l.ignore.judge(name, d.verdict)
	if d.listed {
		if i, ok := d.search(base); ok {
			return d.file(name, i), nil
		}
		if v.out {
			return file{}, ignored(name)
		}
		return file{}, notExist(name)
	}
	f, err := l.lookUp(d, parent, base, name)
	if err != nil || !v.out {
		return f, err
	}
	left := false
	if f.Type == layer.Directory && l.ignore.mayHold(name, v) {
		if left, err = l.anyLeft(ctx, name, v); err != nil {
			return f, err
		}
	}
	if !left {
		return file{}, ignored(name)
	}
	return f, nil
}

// lookUp looks at one file of a directory whose listing nobody asked for yet.
func (l *Dir) lookUp(d *directory, parent, base, name string) (file, error) {
	if f, ok := d.looked[base]; ok {
		return f, nil
	}
	h, err := l.root.openDir(parent)
	if err != nil {
		return file{}, inContext(name, err)
	}
	defer h.close()
	f, note, err := l.look(h, l.index.of(parent), base, name)
	if err != nil {
		return file{}, err
	}
	if note != "" {
		l.say(note)
		return file{}, notExist(name)
	}
	if f.hashed {
		f.Digest = digestOf(&f.sum)
	}
	if d.looked == nil {
		d.looked = map[string]file{}
	}
	d.looked[base] = f
	return f, nil
}

// directory returns what is known of the directory name, reading its parents
// as far as needed. It needs l.mu.
func (l *Dir) directory(ctx context.Context, name string) (*directory, error) {
	if d, ok := l.dirs[name]; ok {
		if d.verdict.out && d.listed && len(d.all) == 0 {
			return nil, ignored(name)
		}
		return d, nil
	}
	f, err := l.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if f.Type != layer.Directory {
		return nil, &fs.PathError{Op: "read directory", Path: name, Err: errNotDirectory}
	}
	if d, ok := l.dirs[name]; ok { // made by find
		return d, nil
	}
	d := &directory{verdict: l.ignore.judge(name, l.dirs[path.Dir(name)].verdict)}
	l.dirs[name] = d
	return d, nil
}

// anyLeft tells whether the patterns leave anything in a directory that they
// leave out itself.
func (l *Dir) anyLeft(ctx context.Context, name string, v verdict) (bool, error) {
	d, ok := l.dirs[name]
	if !ok {
		d = &directory{verdict: v}
		l.dirs[name] = d
	}
	if err := l.list(ctx, name, d); err != nil {
		return false, err
	}
	return len(d.all) > 0, nil
}

var errNotDirectory = fmt.Errorf("not a directory: %w", fs.ErrNotExist)

func notExist(name string) error {
	return &fs.PathError{Op: "look up", Path: name, Err: fs.ErrNotExist}
}

func ignored(name string) error {
	return &fs.PathError{Op: "look up", Path: name, Err: fmt.Errorf("%w in what the ignore file leaves of the build context", fs.ErrNotExist)}
}

// renamed makes an error about a parent directory one about name.
func renamed(err error, name string) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok && errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "look up", Path: name, Err: pe.Err}
	}
	return err
}

func inContext(name string, err error) error {
	return fmt.Errorf("%s in the build context: %w", name, cause(err))
}

func errChanged(name string) error {
	return fmt.Errorf("%s in the build context changed while it was being read", name)
}

// cause drops the path of a PathError, where ours says it better.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}
