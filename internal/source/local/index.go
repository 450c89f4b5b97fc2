package local

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
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

	mu      sync.Mutex
	byName  map[uint64]int32 // by the hash of the name, so that many weigh little
	seed    maphash.Seed
	entries []indexEntry // of the file
	dirs    []*Dir       // that use it
}

type indexEntry struct {
	name string
	fileStat
	sum     [sha256.Size]byte
	touched bool // asked for since the index was opened
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
	x := &Index{file: file, seed: maphash.MakeSeed()}
	if x.entries, x.damaged = loadIndex(file); x.damaged != nil {
		x.entries = nil
	}
	x.byName = make(map[uint64]int32, len(x.entries))
	for i := range x.entries {
		x.byName[maphash.String(x.seed, x.entries[i].name)] = int32(i)
	}
	return x
}

// find returns the position of a name. Of two names with one hash only the later
// is found: the other one's file is read again.
func (x *Index) find(name string) (int, bool) {
	i, ok := x.byName[maphash.String(x.seed, name)]
	return int(i), ok && x.entries[i].name == name
}

// Damaged returns why the file could not be used, or nil.
func (x *Index) Damaged() error { return x.damaged }

// get returns the digest of a file that is what it was.
func (x *Index) get(name string, s fileStat) (sum [sha256.Size]byte, ok bool) {
	if x == nil {
		return sum, false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	i, ok := x.find(name)
	if !ok {
		return sum, false
	}
	e := &x.entries[i]
	e.touched = true
	return e.sum, e.fileStat == s
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
	news := x.damaged != nil
	for _, l := range x.dirs {
		news = news || l.learned
	}
	// What nobody looked for stays, another Dockerfile may want it, unless it is gone.
	before := len(x.entries)
	x.entries = slices.DeleteFunc(x.entries, func(e indexEntry) bool { return !e.touched && x.vanished(e.name) })
	if !news && len(x.entries) == before {
		return nil
	}
	if err := writeIndex(x.file, x.all(), temp); err != nil {
		return err
	}
	x.damaged = nil
	for _, l := range x.dirs {
		l.learned = false
	}
	return nil
}

// all is what the index remembers from now on. It needs the locks of all directories.
func (x *Index) all() iter.Seq[indexEntry] {
	return func(yield func(indexEntry) bool) {
		for i, l := range x.dirs {
			for e := range l.sure() {
				if !slices.ContainsFunc(x.dirs[:i], func(other *Dir) bool { return other.isSure(e.name) }) && !yield(e) {
					return
				}
			}
		}
		for _, e := range x.entries {
			if !slices.ContainsFunc(x.dirs, func(l *Dir) bool { return l.isSure(e.name) }) && !yield(e) {
				return
			}
		}
	}
}

// sure yields what the index is to remember of a directory. It needs l.mu.
func (l *Dir) sure() iter.Seq[indexEntry] {
	return func(yield func(indexEntry) bool) {
		for dir, d := range l.dirs {
			for i := range d.all {
				if k := &d.all[i]; k.sure && !yield(indexEntry{name: below(dir) + d.base(i), fileStat: d.stat(i), sum: k.sum}) {
					return
				}
			}
			for _, f := range d.looked {
				if f.sure && !yield(indexEntry{name: f.Name, fileStat: f.stat, sum: f.sum}) {
					return
				}
			}
		}
	}
}

// isSure tells whether sure yields a file of that name. It needs l.mu.
func (l *Dir) isSure(name string) bool {
	d := l.dirs[path.Dir(name)]
	if d == nil {
		return false
	}
	if i, ok := d.search(path.Base(name)); ok {
		return d.all[i].sure
	}
	return d.looked[path.Base(name)].sure
}

// vanished tells whether a directory that was listed lacks name or a parent. It
// needs the locks of all directories.
func (x *Index) vanished(name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if slices.ContainsFunc(x.dirs, func(l *Dir) bool { return l.lacks(name) }) {
			return true
		}
	}
	return false
}

// lacks needs l.mu.
func (l *Dir) lacks(name string) bool {
	d, base := l.dirs[path.Dir(name)], path.Base(name)
	if d == nil || !d.listed {
		return false
	}
	_, in := d.search(base)
	_, out := slices.BinarySearch(d.out, base)
	return !in && !out
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
