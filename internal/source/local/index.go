package local

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// fileStat is what tells that the content of a file is still the same.
// Times are nanoseconds since the Unix epoch.
type fileStat struct {
	size, mtime, ctime int64
	ino, dev           uint64
}

// sameContent leaves the change time out: a new hard link or mode changes it.
func (s fileStat) sameContent(o fileStat) bool {
	s.ctime, o.ctime = 0, 0
	return s == o
}

// grewFrom tells whether a file only has more bytes than it had.
func (s fileStat) grewFrom(o fileStat) bool {
	return s.ino == o.ino && s.dev == o.dev && s.size > o.size
}

// racyWindow is how long after a change a file may change again without its
// times telling: clocks of file systems tick as slowly as every two seconds.
const racyWindow = 2 * time.Second

// Index remembers the digests of the files of one build context by their
// size, times and inode, so that an unchanged file is not read again.
//
// It is one small file. It is only ever a shortcut: a missing or damaged one
// is an empty index. Of several processes that save, the last one wins.
// What a build learns is in the listings of its [Dir]s until the index is saved.
// A nil *Index remembers nothing. It may be used by several goroutines.
type Index struct {
	file    string
	damaged error
	blocks  map[string]block // of the file, by directory

	mu   sync.Mutex
	dirs []*Dir // that use it
}

// IndexFile names the index of the context directory dir in a store.
func IndexFile(store, dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	return filepath.Join(store, "stat", hex.EncodeToString(sum[:16])), nil
}

// OpenIndex reads an index file. It always returns a usable index:
// [Index.Damaged] tells why one that exists is not used.
func OpenIndex(file string) *Index {
	x := &Index{file: file}
	x.blocks, x.damaged = loadIndex(file)
	return x
}

// Damaged returns why the file could not be used, or nil.
func (x *Index) Damaged() error { return x.damaged }

// of returns what is remembered of a directory.
func (x *Index) of(dir string) block {
	if x == nil {
		return block{}
	}
	return x.blocks[dir]
}

// use makes the index have what a directory's build learns.
func (x *Index) use(l *Dir) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.dirs = append(x.dirs, l)
}

// racy tells whether a change right after began could leave the times as they
// are. A change time in the future is a clock set back: nothing is certain.
// A modification time in the future is only somebody's wish.
func racy(s fileStat, began time.Time) bool {
	now, window := began.UnixNano(), racyWindow.Nanoseconds()
	if s.ctime > now-window {
		return true
	}
	return s.mtime > now-window && (s.mtime < now+window || s.ctime == 0)
}

// Save writes the index to a file that temp makes, on the same file system, and
// renames it, when anything in it is new. The directory of the file is made.
func (x *Index) Save(temp func(pattern string) (*os.File, error)) error {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, l := range x.dirs {
		l.mu.Lock()
		defer l.mu.Unlock()
	}
	if !x.news() {
		return nil
	}
	if err := writeIndex(x.file, x.merged(), temp); err != nil {
		return err
	}
	x.damaged = nil
	for _, l := range x.dirs {
		l.learned = false
	}
	return nil
}

// news tells whether something was learned, or is gone. It needs the locks of all
// directories, as what it calls does.
func (x *Index) news() bool {
	if x.damaged != nil || slices.ContainsFunc(x.dirs, func(l *Dir) bool { return l.learned }) {
		return true
	}
	for dir, b := range x.blocks {
		if x.vanished(dir) || slices.ContainsFunc(x.dirs, func(l *Dir) bool { return l.dirs[dir].lacksAny(b) }) {
			return true
		}
	}
	return false
}

// merged yields what the index is to remember from now on, directory by directory:
// what was learned, and what nobody looked for, since another Dockerfile may want
// it, unless it is gone.
func (x *Index) merged() iter.Seq2[string, []remembered] {
	return func(yield func(string, []remembered) bool) {
		names := slices.Collect(maps.Keys(x.blocks))
		for _, l := range x.dirs {
			names = slices.AppendSeq(names, maps.Keys(l.dirs))
		}
		slices.Sort(names)
		for _, dir := range slices.Compact(names) {
			if all := x.mergedIn(dir); len(all) > 0 && !yield(dir, all) {
				return
			}
		}
	}
}

func (x *Index) mergedIn(dir string) []remembered {
	var all []remembered
	var listed []*directory
	for _, l := range x.dirs {
		if d := l.dirs[dir]; d != nil {
			listed = append(listed, d)
			all = d.sure(all)
		}
	}
	if b := x.blocks[dir]; !x.vanished(dir) {
		for i := range b.count {
			base := b.base(i)
			if !slices.ContainsFunc(listed, func(d *directory) bool { return d.answers(base) }) {
				all = append(all, remembered{base, b.stat(i), b.sum(i)})
			}
		}
	}
	byBase := func(a, b remembered) int { return strings.Compare(a.base, b.base) }
	slices.SortFunc(all, byBase)
	return slices.CompactFunc(all, func(a, b remembered) bool { return a.base == b.base })
}

// remembered is a file in an index.
type remembered struct {
	base string
	fileStat
	sum [sha256.Size]byte
}

// sure appends the files of which the digest can be remembered.
func (d *directory) sure(all []remembered) []remembered {
	for i := range d.all {
		if k := &d.all[i]; k.sure {
			all = append(all, remembered{d.base(i), d.stat(i), k.sum})
		}
	}
	for base, f := range d.looked {
		if f.sure {
			all = append(all, remembered{base, f.stat, f.sum})
		}
	}
	return all
}

// answers tells whether all is known here that is to be remembered of a name.
func (d *directory) answers(base string) bool {
	if !d.listed {
		return d.looked[base].sure
	}
	_, out := slices.BinarySearch(d.out, base)
	return !out
}

// lacksAny tells whether a name that is remembered is gone from a listing.
func (d *directory) lacksAny(b block) bool {
	if d == nil || !d.listed {
		return false
	}
	at := 0 // both are sorted
	for i := range b.count {
		base := b.base(i)
		for at < len(d.all) && d.base(at) < base {
			at++
		}
		if (at == len(d.all) || d.base(at) != base) && d.answers(base) {
			return true
		}
	}
	return false
}

// vanished tells whether a directory is gone, by the listings of those above it.
func (x *Index) vanished(dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		above, base := path.Dir(dir), path.Base(dir)
		for _, l := range x.dirs {
			d := l.dirs[above]
			if d == nil || !d.answers(base) || !d.listed {
				continue
			}
			if i, ok := d.search(base); !ok || d.all[i].typ != layer.Directory {
				return true
			}
		}
	}
	return false
}

// digestOf does without the formatted printing of the digest package: it is
// called for every file of a context.
func digestOf(sum *[sha256.Size]byte) digest.Digest {
	var b [len("sha256:") + 2*sha256.Size]byte
	hex.Encode(b[copy(b[:], "sha256:"):], sum[:])
	return digest.Digest(b[:])
}

// sumOf does without the regular expression of Validate, as digestOf does.
func sumOf(dgst digest.Digest) (sum [sha256.Size]byte, err error) {
	text, ok := strings.CutPrefix(string(dgst), "sha256:")
	if !ok {
		return sum, digest.ErrDigestUnsupported
	}
	if len(text) != hex.EncodedLen(len(sum)) {
		return sum, digest.ErrDigestInvalidLength
	}
	_, err = hex.Decode(sum[:], []byte(text))
	return sum, err
}
