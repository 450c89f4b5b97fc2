package layer

import (
	"iter"
	"sort"
	"strings"

	"github.com/opencontainers/go-digest"
)

// TOC is the table of contents of one layer: its entries sorted so that what
// lies in a directory follows it directly, in a compact form that is searched
// without being decoded. A TOC never changes and is safe for concurrent use.
//
// The form is binary and our own rather than the JSON of eStargz, because a
// build that is cached does a handful of lookups in tables of tens of thousands
// of entries: it must cost no more than reading the file.
type TOC struct {
	// RawSize is the length of the uncompressed tar in bytes.
	RawSize int64
	// Compression is the Name of the compression of Groups; empty for a blob
	// that was not written in groups.
	Compression string
	// Blob is the blob that Groups describe: the same tar may lie in others,
	// compressed otherwise.
	Blob digest.Digest
	// Groups says where the parts of the tar lie in the blob, in order; nil for
	// a blob that was not written in groups.
	Groups []Group

	records records  // encoded entries, in any order
	index   []uint32 // where each starts in records, sorted by name
	outward []string // sorted targets of hard links that this layer does not hold
	within  string   // the name in the root that all entries lie under, or ""
	merges  bool     // no directory is opaque
}

// Group is a part of a tar that was compressed on its own (one gzip member or
// one zstd frame), so that it can be read, or copied into another blob, alone.
type Group struct {
	// Digest names the raw bytes: it is the digest of the headers and, in place of
	// each content that ends in the group it began in, the digest of that. With
	// the size of the raw bytes it says what they are, and no byte is hashed twice.
	Digest             digest.Digest
	RawOffset, RawSize int64
	Offset, Size       int64 // in the blob
	// Checksum is the CRC-32C of the bytes in the blob, so that damage is not
	// copied from blob to blob.
	Checksum uint32
}

// Len returns the number of entries.
func (t *TOC) Len() int { return len(t.index) }

// Lookup returns the layer's own entry for name, which may be a Whiteout or an
// unresolved Hardlink. Directories that the tar only implies are not found.
func (t *TOC) Lookup(name string) (Entry, bool) {
	i, ok := t.search(nameKey(name), 0, 0)
	if !ok {
		return Entry{}, false
	}
	return t.entry(i), true
}

// All yields every entry in order.
func (t *TOC) All() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := range t.index {
			if !yield(t.entry(i)) {
				return
			}
		}
	}
}

// Children yields the layer's own entries directly inside dir, whiteouts
// included, and directories that the tar only implies (0755, owned by root).
func (t *TOC) Children(dir string) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for key, i := range t.children(nameKey(dir)) {
			e := impliedDir(key)
			if i >= 0 {
				e = t.entry(i)
			}
			if !yield(e) {
				return
			}
		}
	}
}

// impliedDir is the directory that must be there because something lies in it.
func impliedDir(key string) Entry {
	return Entry{Name: keyName(key), Type: Directory, Mode: 0o755, implied: true}
}

// children yields name and position of what lies directly in dir; the position
// of an implied directory is -1.
func (t *TOC) children(dir string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		i, ok := t.search(dir, 0, 0)
		if ok {
			i++
		}
		skip := len(dir) + 1
		if dir == "" {
			skip = 0
		}
		for i < len(t.index) {
			full := string(t.key(i))
			if !isUnder(full, dir) || len(full) <= skip {
				return
			}
			at, child := i, full
			if cut := strings.IndexByte(full[skip:], '/'); cut >= 0 {
				at, child = -1, full[:skip+cut]
			}
			if !yield(child, at) {
				return
			}
			i = t.after(child, i+1)
		}
	}
}

// search finds the first position, not before lo, whose key is not below key,
// and tells whether it is key itself. The first known bytes of the key at lo
// are those of key.
func (t *TOC) search(key string, lo, known int) (int, bool) {
	n := len(t.index) - lo
	// Neighbours are asked for one after the other when a path is walked down.
	if n > 0 {
		if c := compareKeys(t.key(lo)[known:], key[known:]); c >= 0 {
			return lo, c == 0
		}
	}
	i := lo + sort.Search(n, func(i int) bool { return compareKeys(t.key(lo+i), key) >= 0 })
	return i, i < len(t.index) && string(t.key(i)) == key
}

// after finds the first position, not before lo, that is not under dir, given
// that all between dir's own and lo is. Most subtrees are small: it gallops.
func (t *TOC) after(dir string, lo int) int {
	step := 1
	for lo+step <= len(t.index) && isUnder(t.key(lo+step-1), dir) {
		lo += step
		step *= 2
	}
	n := min(step, len(t.index)-lo)
	return lo + sort.Search(n, func(i int) bool { return !isUnder(t.key(lo+i), dir) })
}

// sight is what one layer says about one name.
type sight struct {
	at      int  // position of its entry, -1 if it has none
	implied bool // it has none, but something lies under it
	hides   bool // what lower layers have at or under the name is not seen, beyond what the entry itself says
}

// see tells what the layer says about key.
func (t *TOC) see(key string) sight {
	switch {
	case t.elsewhere(key):
		return sight{at: -1}
	case key == "" && t.within != "":
		return sight{at: -1, implied: true}
	case t.merges:
		return t.seeMerged(key)
	default:
		return t.seeOnTheWay(key)
	}
}

// seeMerged is see where only what is no directory hides anything. Nothing lies
// under that, so that it stands right before what would.
func (t *TOC) seeMerged(key string) sight {
	i, ok := t.search(key, 0, 0)
	if ok {
		_, typ := t.kind(i)
		return sight{at: i, hides: typ != Directory}
	}
	s := sight{at: -1}
	if s.implied = i < len(t.index) && isUnder(t.key(i), key); s.implied || i == 0 {
		return s
	}
	if _, typ := t.kind(i - 1); typ != Directory {
		s.hides = isUnder(key, string(t.key(i-1)))
	}
	return s
}

// seeOnTheWay walks down to key, so that it notices what hides it on the way. The
// cost is one short search for each component that the layer has at all.
func (t *TOC) seeOnTheWay(key string) sight {
	s := sight{at: -1}
	for lo, end, known := 0, 0, 0; ; {
		part := key[:end]
		i, ok := t.search(part, lo, known)
		if ok {
			flags, typ := t.kind(i)
			if typ != Directory || flags&flagOpaque != 0 {
				s.hides = true
			}
			if end == len(key) {
				s.at = i
				return s
			}
			if typ != Directory {
				return s
			}
			i++
		}
		lo = i
		if lo >= len(t.index) || !isUnder(t.key(lo), part) {
			return s
		}
		if end == len(key) {
			s.implied = true
			return s
		}
		end, known = nextComponent(key, end), end
	}
}

// nextComponent returns where the component after key[:end] ends. It moves on
// whatever the key, be it one that no entry can have ("/a").
func nextComponent(key string, end int) int {
	if i := strings.IndexByte(key[end+1:], '/'); i >= 0 {
		return end + 1 + i
	}
	return len(key)
}

// narrow finds within, which most layers have that a COPY makes: an image of
// hundreds of them is looked through without a search in each.
func (t *TOC) narrow() {
	n := len(t.index)
	if n == 0 {
		return
	}
	first := string(t.key(0))
	if first == "" { // the root itself, of which more than its name would matter
		return
	}
	top := first[:nextComponent(first, 0)]
	if last := string(t.key(n - 1)); last == top || isUnder(last, top) {
		t.within = top
	}
}

// elsewhere tells at once that the layer says nothing about a name; that it does
// not tell so means nothing.
func (t *TOC) elsewhere(key string) bool {
	return t.within != "" && key != "" && key != t.within && !isUnder(key, t.within)
}

// linksTo tells whether a hard link of this layer leads to name in a lower one.
func (t *TOC) linksTo(name string) bool {
	i := sort.SearchStrings(t.outward, name)
	return i < len(t.outward) && t.outward[i] == name
}
