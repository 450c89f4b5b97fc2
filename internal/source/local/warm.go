package local

import (
	"context"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

// A COPY reads one file after the other. Where they are not in the page cache, it
// would wait for the disk each time, although that could work on many of them. So
// once files are seen not to be there, those that follow are asked for ahead, many
// at a time. Where they are there, nothing of this happens: it would cost a percent.
const (
	slowRead   = 150 * time.Microsecond // a read that takes longer has waited for the disk
	coldAfter  = 4                      // files from the disk, less those in memory, that make a context cold
	coldMost   = 64                     // files in memory, less those from the disk, that make it warm again
	warmAtOnce = 16                     // goroutines that ask, where asking waits for the file
	warmAhead  = 256                    // files that are asked for ahead of the one that is needed
	warmMost   = 4 << 20                // bytes of a file that are asked for; the kernel goes on from there
)

// residency is where the first bytes of a file are, as far as the host tells.
type residency int

const (
	unsure residency = iota
	inMemory
	onDisk
)

// warmer asks for files of a directory ahead of who needs them.
type warmer struct {
	mu      sync.Mutex
	cold    int      // how cold the page cache is: from coldAfter on, files are asked for ahead
	queue   []string // what was asked for, in the order of the tree
	cursor  string   // the last of them
	running int
}

// opening tells the warmer that a file is needed now.
func (w *warmer) opening(ctx context.Context, l *Dir, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cold < coldAfter {
		return
	}
	if at := slices.Index(w.queue, name); at >= 0 {
		w.queue = w.queue[at+1:]
	} else {
		w.queue, w.cursor = nil, name
	}
	if len(w.queue) > warmAhead/2 || w.running == warmAtOnce {
		return
	}
	w.running++ // one more for each file that is needed, until they keep up
	l.readers.Go(func() { w.run(ctx, l) })
}

// run asks for files until enough are on their way.
func (w *warmer) run(ctx context.Context, l *Dir) {
	for f, ok := w.next(ctx, l); ok; f, ok = w.next(ctx, l) {
		w.warm(l, f)
	}
}

// next takes the next file to ask for, or tells that this goroutine has to end.
func (w *warmer) next(ctx context.Context, l *Dir) (file, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) < warmAhead && w.cold >= coldAfter {
		if f, ok := l.after(ctx, w.cursor); ok {
			w.queue, w.cursor = append(w.queue, f.Name), f.Name
			return f, true
		}
	}
	w.running--
	return file{}, false
}

// warm asks the host to bring the beginning of a file into the page cache. What
// goes wrong is told to who needs the file.
func (w *warmer) warm(l *Dir, f file) {
	h, _, err := l.root.open(f.Name)
	if err != nil {
		return
	}
	defer func() { _ = h.Close() }()
	where := h.residency()
	if where != inMemory {
		h.willNeed(min(f.Size, warmMost))
	}
	if where == unsure {
		var first [1]byte
		where, _, err = timed(h, first[:])
	}
	if err == nil {
		w.saw(where)
	}
}

// read reads the first bytes of a file that is needed now. What was asked for
// ahead has been counted.
func (w *warmer) read(h hostFile, p []byte) (int, error) {
	if w.isCold() {
		return h.Read(p)
	}
	if where := h.residency(); where != unsure {
		w.saw(where)
		return h.Read(p)
	}
	where, n, err := timed(h, p)
	w.saw(where)
	return n, err
}

// timed reads, and tells from how long that took where the bytes were.
func timed(h hostFile, p []byte) (residency, int, error) {
	began := time.Now()
	n, err := h.Read(p)
	if time.Since(began) > slowRead {
		return onDisk, n, err
	}
	return inMemory, n, err
}

func (w *warmer) isCold() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cold >= coldAfter
}

// saw tells the warmer where one more file was.
func (w *warmer) saw(where residency) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case where == onDisk:
		if w.cold++; w.cold >= coldAfter {
			w.cold = coldMost
		}
	case w.cold > 0:
		w.cold--
	}
}

// after returns the next regular file with content in the order of the tree. It
// lists the directories on the way down, which whoever walks the tree will do next,
// and ends where a walk of listings would: below the directory that it began with.
func (l *Dir) after(ctx context.Context, name string) (file, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		dir := path.Dir(name)
		d := l.dirs[dir]
		if d == nil || !d.listed {
			return file{}, false
		}
		at, found := d.search(path.Base(name))
		if found {
			at++
		}
		if f, ok := l.firstIn(ctx, dir, d, at); ok {
			return f, true
		}
		if dir == "." {
			return file{}, false
		}
		name = dir
	}
}

// firstIn looks from the position at on. It needs l.mu.
func (l *Dir) firstIn(ctx context.Context, dir string, d *directory, at int) (file, bool) {
	for i := at; i < len(d.all); i++ {
		name := path.Join(dir, d.base(i))
		switch d.all[i].typ {
		case layer.Regular:
			if d.all[i].size > 0 {
				return d.file(name, i), true
			}
		case layer.Directory:
			d := l.dirs[name]
			if d == nil || l.list(ctx, name, d) != nil {
				continue // what goes wrong is told to who asks for the listing
			}
			if f, ok := l.firstIn(ctx, name, d, 0); ok {
				return f, true
			}
		}
	}
	return file{}, false
}
