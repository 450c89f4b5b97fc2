package layer

import (
	"context"
	"errors"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// tocBuilder gathers the entries of a tar in the order of the tar.
type tocBuilder struct {
	records []byte
	index   []uint32 // ascending: also tells which of two entries came later
	links   bool
}

// add appends an entry. The caller has checked its names.
func (b *tocBuilder) add(e *Entry) error {
	if len(b.records) > math.MaxUint32/2 {
		return errors.New("too many names for a table of contents")
	}
	b.index = append(b.index, uint32(len(b.records)))
	b.records = appendRecord(b.records, e, 0)
	b.links = b.links || e.Type == Hardlink
	return nil
}

// opaque notes an opaque marker, which may come before or after its directory,
// or without it.
func (b *tocBuilder) opaque(dir string) {
	e := impliedDir(nameKey(dir))
	e.Opaque = true
	b.index = append(b.index, uint32(len(b.records)))
	b.records = appendRecord(b.records, &e, flagPseudo)
}

// finish sorts the entries and settles what a tar may say twice, the way
// unpacking it would: of two entries with one name the later wins, a file gives
// way to a directory that is needed later.
func (b *tocBuilder) finish(rawSize int64) *TOC {
	t := &TOC{RawSize: rawSize, records: b.records, index: b.index}
	// An entry may be moved by a symlink under another one; each round settles
	// one level, and a tar that needs more than a few is a riddle, not a layer.
	for range 8 {
		t.sort()
		t.mergeNames()
		moved := t.throughLinks()
		t.settleParents()
		if !moved {
			break
		}
	}
	if b.links {
		t.markLinks()
	}
	return t
}

func (t *TOC) sort() {
	byName := func(x, y uint32) int {
		dx, dy := decoder{b: t.records[x+2:]}, decoder{b: t.records[y+2:]}
		if c := compareKeys(dx.bytes(), dy.bytes()); c != 0 {
			return c
		}
		return int(int64(x) - int64(y))
	}
	if !slices.IsSortedFunc(t.index, byName) { // it nearly always is
		slices.SortFunc(t.index, byName)
	}
}

// mergeNames leaves one entry for each name.
func (t *TOC) mergeNames() {
	out := t.index[:0]
	for i := 0; i < len(t.index); {
		j := i + 1
		for j < len(t.index) && string(t.key(j)) == string(t.key(i)) {
			j++
		}
		out = append(out, t.pick(t.index[i:j]))
		i = j
	}
	t.index = out
}

// pick chooses among entries of one name. Whiteouts and opaque markers concern
// lower layers, wherever they stand in the tar, so they go into the flag of a
// directory and are of no use beside any other file.
func (t *TOC) pick(same []uint32) uint32 {
	best, rank, opaque := same[0], -1, byte(0)
	for _, off := range same {
		flags, typ := t.records[off], Type(t.records[off+1])
		r := 2
		switch {
		case typ == Whiteout:
			r, opaque = 0, flagOpaque
		case flags&flagPseudo != 0:
			r = 1
		}
		opaque |= flags & flagOpaque
		if r >= rank {
			best, rank = off, r
		}
	}
	if Type(t.records[best+1]) == Directory {
		t.records[best] |= opaque
	}
	return best
}

// settleParents sees to it that only directories have something under them.
func (t *TOC) settleParents() {
	out := t.index[:0]
	blocker := -1 // position in out of what is no directory
	for i, off := range t.index {
		key, typ := string(t.key(i)), Type(t.records[off+1])
		if blocker >= 0 {
			d := decoder{b: t.records[out[blocker]+2:]}
			over := string(d.bytes())
			if isUnder(key, over) {
				if !t.giveWay(out, blocker, off) {
					continue
				}
				blocker = -1
			}
		}
		if typ != Directory {
			blocker = len(out)
		}
		out = append(out, off)
	}
	t.index = out
}

// giveWay makes the entry at out[blocker] a directory for the sake of the one at
// off, or tells that the latter is gone.
func (t *TOC) giveWay(out []uint32, blocker int, off uint32) bool {
	old := out[blocker]
	hides := Type(t.records[old+1]) == Whiteout
	if hides && Type(t.records[off+1]) == Whiteout {
		return false // hidden already
	}
	if !hides && old > off {
		return false // replaced by the later file
	}
	d := decoder{b: t.records[old+2:]}
	e := impliedDir(string(d.bytes()))
	e.Opaque = hides
	out[blocker] = uint32(len(t.records))
	t.records = appendRecord(t.records, &e, 0)
	return true
}

// throughLinks moves entries that were unpacked through a symlink which the same
// tar had put in place of a directory ("bin -> usr/bin", "bin/sh") to where they
// really are. It tells whether there were any.
func (t *TOC) throughLinks() bool {
	var moved []Entry
	link, linkAt := "", -1
	out := make([]uint32, 0, len(t.index))
	for i, off := range t.index {
		key := string(t.key(i))
		if linkAt >= 0 && isUnder(key, link) && off > t.index[linkAt] {
			e := t.entry(i)
			dir, err := Resolve(context.Background(), tocTree{t}, path.Dir(e.Name), true)
			if err == nil {
				e.Name = childKey(nameKey(dir), path.Base(e.Name))
				moved = append(moved, e)
			}
			continue
		}
		if Type(t.records[off+1]) == Symlink {
			link, linkAt = key, i
		}
		out = append(out, off)
	}
	if len(moved) == 0 {
		return false
	}
	for i := range moved {
		out = append(out, uint32(len(t.records)))
		t.records = appendRecord(t.records, &moved[i], 0)
	}
	t.index = out
	t.sort()
	t.mergeNames()
	return true
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
			t.records[t.index[at]] |= flagLinked
		case target != "":
			t.outward = append(t.outward, target)
		}
	}
	slices.Sort(t.outward)
	t.outward = slices.Compact(t.outward)
}

// maxHardlinks bounds chains of hard links; each is a link to a link in a tar.
const maxHardlinks = 40

// followLinks follows the hard link at i inside the layer. If it leaves the
// layer, target is the name to look for below.
func (t *TOC) followLinks(i int) (at int, target string, ok bool) {
	for range maxHardlinks {
		target = t.entry(i).Linkname
		next, found := t.search(nameKey(target), 0)
		if !found {
			return 0, target, false
		}
		_, typ := t.kind(next)
		if typ == Whiteout {
			return 0, "", false
		}
		if typ != Hardlink {
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
		n.Size, n.Offset = e.Size, e.Offset
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
		if isOverlayXattr(k) {
			continue
		}
		if n.Xattrs == nil {
			n.Xattrs = make(map[string]string, len(e.Xattrs))
		}
		n.Xattrs[k] = v
	}
	return n
}

func isSHA256(d digest.Digest) bool {
	return strings.HasPrefix(string(d), digestPrefix) && d.Validate() == nil
}
