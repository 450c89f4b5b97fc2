package layer

import (
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// tocBuilder gathers the entries of a tar in the order of the tar.
type tocBuilder struct {
	records records
	index   []uint32 // ascending: also tells which of two entries came later
	links   bool
	marked  bool // there are opaque markers
}

// add appends an entry. The caller has checked its names.
func (b *tocBuilder) add(e *Entry) error {
	b.links = b.links || e.Type == Hardlink
	return b.append(e, 0)
}

// opaque notes an opaque marker, which may come before or after its directory,
// or without it.
func (b *tocBuilder) opaque(dir string) error {
	e := impliedDir(nameKey(dir))
	e.Opaque = true
	b.marked = true
	return b.append(&e, flagPseudo)
}

func (b *tocBuilder) append(e *Entry, flags byte) error {
	off, err := b.records.add(e, flags)
	b.index = append(b.index, off)
	return err
}

// finish sorts the entries. What a tar says twice, or through links of its own,
// is settled by a replay of the unpacking, which few layers need.
func (b *tocBuilder) finish(rawSize int64) (*TOC, error) {
	t := &TOC{RawSize: rawSize, records: b.records, index: slices.Clone(b.index)}
	t.sort()
	if b.marked || !t.plain() {
		if err := t.replay(b.index); err != nil {
			return nil, err
		}
	}
	if b.links {
		t.markLinks()
	}
	t.narrow()
	t.merges = !slices.ContainsFunc(t.index, func(off uint32) bool { return t.records.at(off)[0]&flagOpaque != 0 })
	return t, nil
}

// plain tells whether the sorted entries are just what unpacking them leaves.
func (t *TOC) plain() bool {
	var above []byte // the last entry that is no directory
	for i, off := range t.index {
		key := t.key(i)
		if i > 0 && string(key) == string(t.key(i-1)) {
			return false
		}
		if above != nil && isUnder(key, string(above)) {
			return false
		}
		_, typ := t.kind(i)
		if typ != Directory {
			above = key
		}
		if typ == Hardlink && !t.plainLink(i, off) {
			return false
		}
	}
	return true
}

// plainLink tells whether the hard link at i leads to a file before it in the
// tar, or to a name this layer has nothing to do with.
func (t *TOC) plainLink(i int, off uint32) bool {
	s := t.see(nameKey(t.entry(i).Linkname))
	if s.at < 0 {
		return !s.implied && !s.hides
	}
	_, typ := t.kind(s.at)
	return typ != Directory && typ != Whiteout && typ != Hardlink && t.index[s.at] < off
}

func (t *TOC) sort() {
	byName := func(x, y uint32) int {
		dx, dy := decoder{b: t.records.at(x)[2:]}, decoder{b: t.records.at(y)[2:]}
		if c := compareKeys(dx.bytes(), dy.bytes()); c != 0 {
			return c
		}
		return int(int64(x) - int64(y))
	}
	if !slices.IsSortedFunc(t.index, byName) { // it nearly always is
		slices.SortFunc(t.index, byName)
	}
}

// markLinks flags what hard links lead to, and notes those that leave the layer.
func (t *TOC) markLinks() {
	for i := range t.index {
		if _, typ := t.kind(i); typ != Hardlink {
			continue
		}
		at, target, ok := t.followLinks(i)
		switch {
		case ok:
			t.records.at(t.index[at])[0] |= flagLinked
		case target != "":
			t.outward = append(t.outward, target)
		}
	}
	slices.Sort(t.outward)
	t.outward = slices.Compact(t.outward)
}

// maxHardlinks bounds chains of hard links. Replaying leaves chains of two; a
// damaged table may have loops.
const maxHardlinks = 4

// followLinks follows the hard link at i inside the layer. If it leaves the
// layer, target is the name to look for below.
func (t *TOC) followLinks(i int) (at int, target string, ok bool) {
	for range maxHardlinks {
		target = t.entry(i).Linkname
		if flags, _ := t.kind(i); flags&flagBelow != 0 {
			return 0, target, false
		}
		next, found := t.search(nameKey(target), 0, 0)
		if !found {
			return 0, target, false
		}
		if _, typ := t.kind(next); typ != Hardlink {
			return next, target, true
		}
		i = next
	}
	return 0, "", false
}

// normalize drops from e what its type does not have, so that a table says the
// same of an entry however it came to it.
func normalize(e Entry) Entry {
	n := Entry{Name: e.Name, Type: e.Type}
	if e.Type == Whiteout {
		return n
	}
	n.Mode, n.UID, n.GID, n.ModTime = e.Mode&0o7777, e.UID, e.GID, e.ModTime
	switch e.Type {
	case Regular:
		n.Size, n.Offset, n.sparse = e.Size, e.Offset, e.sparse
		if isSHA256(e.Digest) {
			n.Digest = e.Digest
		}
	case Symlink, Hardlink:
		n.Linkname = e.Linkname
	case Char, Block:
		n.Devmajor, n.Devminor = e.Devmajor, e.Devminor
	case Directory:
		n.Opaque = e.Opaque
	}
	for k, v := range e.Xattrs {
		if !KeepXattr(k) {
			continue
		}
		if n.Xattrs == nil {
			n.Xattrs = make(map[string]string, len(e.Xattrs))
		}
		n.Xattrs[k] = v
	}
	return n
}

// isSHA256 does without the regular expression of Validate: every file is asked.
func isSHA256(d digest.Digest) bool {
	text, ok := strings.CutPrefix(string(d), digestPrefix)
	return ok && len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}
