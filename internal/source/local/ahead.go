package local

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/ocibuild/ocibuild/layer"
)

// readAhead is how many directories are read before they are asked for: those
// that follow, in their parent, one whose listing was asked for.
const readAhead = 4

// listing is what the host says of a directory: the files that patterns leave, or
// that hold something which they might, and the other names.
type listing struct {
	files []listed
	out   []string
	err   error
}

type listed struct {
	file
	verdict verdict
	note    string // why it is left out after all
}

// read asks the host about a directory. It needs no lock.
func (l *Dir) read(name string, v verdict) listing {
	h, err := l.root.openDir(name)
	if err != nil {
		return listing{err: inContext(name, err)}
	}
	defer h.close()
	bases, err := h.names()
	if err != nil {
		return listing{err: inContext(name, err)}
	}
	slices.Sort(bases)
	prefix, old := below(name), l.index.of(name)
	r := listing{files: make([]listed, 0, len(bases))}
	for _, base := range bases {
		name := prefix + base
		f := listed{verdict: l.ignore.judge(name, v)}
		if f.verdict.out && !l.ignore.mayHold(name, f.verdict) {
			r.out = append(r.out, base)
			continue
		}
		f.file, f.note, err = l.look(h, old, base, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // since the directory was read
		}
		if err != nil {
			return listing{err: err}
		}
		if f.note == "" && f.verdict.out && f.Type != layer.Directory {
			r.out = append(r.out, base)
			continue
		}
		r.files = append(r.files, f)
	}
	return r
}

// reading returns what was read ahead of a directory, or reads it. It needs l.mu.
func (l *Dir) reading(name string, v verdict) listing {
	if r, ok := l.ahead[name]; ok {
		delete(l.ahead, name)
		return <-r
	}
	return l.read(name, v)
}

// goAhead reads the directories that whoever walks the tree will ask for after
// name. It needs l.mu.
func (l *Dir) goAhead(ctx context.Context, name string) {
	parent := l.dirs[path.Dir(name)]
	if name == "." || parent == nil || !parent.listed {
		return
	}
	at, found := parent.search(path.Base(name))
	if !found {
		return
	}
	for i := at + 1; i < len(parent.all); i++ {
		if len(l.ahead) >= readAhead || ctx.Err() != nil {
			return
		}
		if parent.all[i].typ != layer.Directory {
			continue
		}
		next := path.Join(path.Dir(name), parent.base(i))
		d := l.dirs[next]
		if d == nil || d.listed || d.verdict.out || l.ahead[next] != nil {
			continue
		}
		r := make(chan listing, 1)
		l.ahead[next] = r
		l.readers.Go(func() { r <- l.read(next, d.verdict) })
	}
}
