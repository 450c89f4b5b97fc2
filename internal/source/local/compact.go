package local

import (
	"crypto/sha256"
	"math"
	"sort"
	"strings"

	"github.com/ocibuild/ocibuild/layer"
)

// files are those of one directory, sorted by name. A context may have a million:
// of each there is what nearly all have, and no more.
type files struct {
	all  []compact
	text string         // the names, with a slash after each
	dev  uint64         // on which the files are
	rest map[int32]file // what is not plain, by position
}

// compact is a file in a listing.
type compact struct {
	size, mtime, ctime int64
	ino                uint64
	sum                [sha256.Size]byte
	at                 uint32 // where the name begins in the text
	mode               uint16
	typ                layer.Type
	hashed, sure       bool // as in file
}

// lister makes files of files.
type lister struct {
	files
	names strings.Builder
}

func newLister(room int) *lister { return &lister{files: files{all: make([]compact, 0, room)}} }

func (l *lister) add(base string, f *file) {
	if len(l.all) == 0 {
		l.dev = f.stat.dev
	}
	k := compact{
		size: f.stat.size, mtime: f.stat.mtime, ctime: f.stat.ctime, ino: f.stat.ino,
		at: uint32(l.names.Len()), mode: uint16(f.Mode), typ: f.Type, sum: f.sum, hashed: f.hashed, sure: f.sure,
	}
	if !f.plain() || f.stat.dev != l.dev {
		if l.rest == nil {
			l.rest = map[int32]file{}
		}
		l.rest[int32(len(l.all))] = *f
	}
	l.all = append(l.all, k)
	l.names.WriteString(base)
	l.names.WriteByte('/')
}

func (l *lister) done() files {
	l.text = l.names.String()
	return l.files
}

// plain tells whether a listing has room for all that is known of a file.
func (f *file) plain() bool {
	return (f.Type == layer.Regular || f.Type == layer.Directory) && f.Inode == "" && f.Mode <= math.MaxUint16
}

func (d *files) base(i int) string {
	name, _, _ := strings.Cut(d.text[d.all[i].at:], "/")
	return name
}

// search finds a name in a complete listing.
func (d *files) search(base string) (int, bool) {
	return sort.Find(len(d.all), func(i int) int { return strings.Compare(base, d.base(i)) })
}

// file returns the file at position i, which is called name.
func (d *files) file(name string, i int) file {
	k := &d.all[i]
	f, ok := d.rest[int32(i)]
	if !ok {
		f.Type, f.Mode, f.ModTime = k.typ, uint32(k.mode), floorSeconds(k.mtime)
	}
	f.stat = d.stat(i)
	f.Name, f.sum, f.hashed, f.sure = name, k.sum, k.hashed, k.sure
	if k.typ == layer.Regular {
		f.Size = k.size
	}
	if k.hashed {
		f.Digest = digestOf(&k.sum)
	}
	return f
}

func (d *files) stat(i int) fileStat {
	k := &d.all[i]
	s := fileStat{size: k.size, mtime: k.mtime, ctime: k.ctime, ino: k.ino, dev: d.dev}
	if f, ok := d.rest[int32(i)]; ok {
		s.dev = f.stat.dev
	}
	return s
}

// entries is what is told of all files.
func (d *files) entries(dir string) []layer.Entry {
	prefix := below(dir)
	var text strings.Builder // of all names: one allocation
	text.Grow(len(d.text) + len(d.all)*len(prefix))
	out := make([]layer.Entry, len(d.all))
	for i := range d.all {
		start := text.Len()
		text.WriteString(prefix)
		text.WriteString(d.base(i))
		out[i] = d.file(text.String()[start:], i).Entry
	}
	return out
}

// below is what the names in a directory begin with.
func below(dir string) string {
	if dir == "." {
		return ""
	}
	return dir + "/"
}
