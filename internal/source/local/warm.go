package local

import (
	"path"
	"slices"
	"sync"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

// A COPY reads one file after the other. Where they are not in the page cache, it
// would wait for the disk each time, although that could work on many of them. So
// once reads are seen to wait, the files that follow are read ahead, several at a
// time. Where reads do not wait, nothing of this happens: it would cost a percent.
const (
	slowRead   = 150 * time.Microsecond // a read that takes longer has waited for the disk
	coldAfter  = 4                      // slow reads, less fast ones, that make a context cold
	coldMost   = 64                     // fast reads, less slow ones, that make it warm again
	warmAtOnce = 16                     // files that are read ahead at a time
	warmAhead  = 128                    // files that are read ahead of the one that is needed
	warmMost   = 4 << 20                // bytes of a file that are read ahead; the kernel goes on from there
)

// warmer reads files of a directory ahead of who needs them.
type warmer struct {
	mu      sync.Mutex
	cold    int      // how cold the page cache is: above coldAfter, files are read ahead
	queue   []string // what is read ahead, in the order of the tree
	cursor  string   // the last of them
	running int
}

// opening tells the warmer that a file is needed now.
func (w *warmer) opening(l *Dir, name string) {
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
	w.dispatch(l)
}

// waited tells the warmer how long the first bytes of a file took, that it has read
// ahead itself or not.
func (w *warmer) waited(d time.Duration, ahead bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !ahead && w.cold >= coldAfter:
		// It came from the page cache because it was read ahead.
	case d > slowRead:
		if w.cold++; w.cold >= coldAfter {
			w.cold = coldMost
		}
	case w.cold > 0:
		w.cold--
	}
}

// dispatch starts what may run. It needs w.mu.
func (w *warmer) dispatch(l *Dir) {
	for w.running < warmAtOnce && len(w.queue) < warmAhead && w.cold >= coldAfter {
		f, ok := l.after(w.cursor)
		if !ok {
			return
		}
		w.queue, w.cursor = append(w.queue, f.Name), f.Name
		w.running++
		l.readers.Go(func() {
			w.warm(l, f)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.running--
			w.dispatch(l)
		})
	}
}

// warm brings the beginning of a file into the page cache. What goes wrong is told
// to who needs the file.
func (w *warmer) warm(l *Dir, f file) {
	began := time.Now()
	h, _, err := l.root.open(f.Name)
	if err != nil {
		return
	}
	defer func() { _ = h.Close() }()
	h.willNeed(min(f.Size, warmMost))
	var first [1]byte
	if _, err := h.Read(first[:]); err == nil {
		w.waited(time.Since(began), true)
	}
}

// after returns the next regular file with content in the order of the tree, among
// the directories whose listings are known.
func (l *Dir) after(name string) (file, bool) {
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
		if f, ok := l.firstIn(dir, d, at); ok {
			return f, true
		}
		if dir == "." {
			return file{}, false
		}
		name = dir
	}
}

// firstIn looks from the position at on. It needs l.mu.
func (l *Dir) firstIn(dir string, d *directory, at int) (file, bool) {
	for i := at; i < len(d.all); i++ {
		name := path.Join(dir, d.base(i))
		switch d.all[i].typ {
		case layer.Regular:
			if d.all[i].size > 0 {
				return d.file(name, i), true
			}
		case layer.Directory:
			if d := l.dirs[name]; d != nil && d.listed {
				if found, ok := l.firstIn(name, d, 0); ok {
					return found, true
				}
			}
		}
	}
	return file{}, false
}
