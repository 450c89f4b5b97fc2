package local

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
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
// A nil *Index remembers nothing. It may be used by several goroutines.
type Index struct {
	file    string
	damaged error

	mu      sync.Mutex
	byName  map[uint64]int32 // by the hash of the name, so that many weigh little
	seed    maphash.Seed
	entries []indexEntry
	listed  map[string][]string // what directories hold now, sorted
	changed bool
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
	x := &Index{file: file, listed: map[string][]string{}}
	x.entries, x.damaged = loadIndex(file)
	if x.damaged != nil {
		x.entries, x.changed = nil, true
	}
	x.seed = maphash.MakeSeed()
	x.nameAll(len(x.entries))
	return x
}

// nameAll makes the names known, with room for so many.
func (x *Index) nameAll(room int) {
	x.byName = make(map[uint64]int32, room)
	for i := range x.entries {
		x.byName[maphash.String(x.seed, x.entries[i].name)] = int32(i)
	}
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

// put remembers the digest of a file whose reading began at the given time,
// unless the file is so young that it could change without being noticed.
func (x *Index) put(name string, s fileStat, sum [sha256.Size]byte, began time.Time) {
	if x == nil || racy(s, began) {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	e := indexEntry{name: name, fileStat: s, sum: sum, touched: true}
	x.changed = true
	if i, ok := x.find(name); ok {
		x.entries[i] = e
		return
	}
	x.makeRoom()
	x.byName[maphash.String(x.seed, name)] = int32(len(x.entries))
	x.entries = append(x.entries, e)
}

// makeRoom makes room for all that was seen at once: files are read when the
// context is listed already.
func (x *Index) makeRoom() {
	if len(x.entries) < cap(x.entries) {
		return
	}
	seen := 0
	for _, names := range x.listed {
		seen += len(names)
	}
	if seen <= len(x.entries) {
		return
	}
	x.entries = slices.Grow(x.entries, seen-len(x.entries))
	x.nameAll(seen)
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

// saw tells what a directory holds, so that what is gone can be forgotten.
func (x *Index) saw(dir string, names []string) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.listed[dir] = names
}

// Save writes the index to a file that temp makes, on the same file system, and
// renames it, when anything in it is new. The directory of the file is made.
func (x *Index) Save(temp func(pattern string) (*os.File, error)) error {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.prune()
	if !x.changed {
		return nil
	}
	if err := writeIndex(x.file, x.entries, temp); err != nil {
		return err
	}
	x.changed = false
	return nil
}

// prune forgets files that were looked for in vain. What nobody looked for
// stays: another Dockerfile may want it.
func (x *Index) prune() {
	before := len(x.entries)
	x.entries = slices.DeleteFunc(x.entries, func(e indexEntry) bool { return !e.touched && x.vanished(e.name) })
	if len(x.entries) == before {
		return
	}
	x.changed = true
	x.nameAll(len(x.entries))
}

// vanished tells whether a directory that was listed lacks name or a parent.
func (x *Index) vanished(name string) bool {
	for name != "." {
		dir := path.Dir(name)
		if names, ok := x.listed[dir]; ok {
			if _, found := slices.BinarySearch(names, path.Base(name)); !found {
				return true
			}
		}
		name = dir
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
