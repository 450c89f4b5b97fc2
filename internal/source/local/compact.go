package local

import (
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/ocibuild/ocibuild/layer"
)

// compact is a file in a listing. A context may have a million: it holds what nearly
// all have, and no more.
type compact struct {
	name   string
	stat   fileStat
	mode   uint32
	typ    layer.Type
	hashed bool // sum is the digest of the content
	sum    [sha256.Size]byte
	more   *layer.Entry // of what is neither a file with one name nor a directory
}

func compactOf(f *file) compact {
	k := compact{name: f.Name, stat: f.stat, mode: f.Mode, typ: f.Type, hashed: f.hashed, sum: f.sum}
	if f.Digest != "" {
		sum, err := sumOf(f.Digest)
		k.sum, k.hashed = sum, err == nil
	}
	if f.Type != layer.Regular && f.Type != layer.Directory || f.Inode != "" {
		e := f.Entry
		k.more = &e
	}
	return k
}

// entry is what is told of the file.
func (k *compact) entry() layer.Entry {
	e := layer.Entry{Name: k.name, Type: k.typ, Mode: k.mode, ModTime: floorSeconds(k.stat.mtime)}
	if k.more != nil {
		e = *k.more
	}
	if k.typ == layer.Regular {
		e.Size = k.stat.size
	}
	if k.hashed {
		e.Digest = digestOf(&k.sum)
	}
	return e
}

func (k *compact) file() file { return file{Entry: k.entry(), stat: k.stat} }

// search finds name in a complete listing.
func (d *directory) search(name string) (int, bool) {
	return slices.BinarySearchFunc(d.files, name, func(f compact, n string) int { return strings.Compare(f.name, n) })
}
