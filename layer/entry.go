package layer

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
)

// Type tells what an [Entry] is. Its values are the type flags of POSIX tar,
// and one of our own for whiteouts.
type Type byte

// The types of an entry.
const (
	Regular   Type = '0'
	Hardlink  Type = '1' // Linkname is another name in the same layer, or below it
	Symlink   Type = '2'
	Char      Type = '3'
	Block     Type = '4'
	Directory Type = '5'
	Fifo      Type = '6'
	// Whiteout hides Name and everything under it in lower layers. In a tar it
	// is the empty file ".wh.<base>" (image-spec, layer.md#whiteouts).
	Whiteout Type = 'w'
)

// Entry describes one file of a layer or of any other [Tree].
type Entry struct {
	// Name is the path relative to the root, slash separated and clean,
	// without a leading slash. The root itself is ".".
	Name string
	Type Type
	Size int64 // bytes of content; 0 unless Regular
	// Mode holds the permission bits with setuid, setgid and sticky (07777).
	Mode               uint32
	UID, GID           int
	ModTime            int64  // seconds since the Unix epoch
	Linkname           string // target of a Symlink verbatim, of a Hardlink as a Name
	Devmajor, Devminor int64
	// Xattrs holds extended attributes by full name ("security.capability").
	// Those of which [KeepXattr] says so are never among them.
	Xattrs map[string]string
	// Digest is the digest of the content of a Regular file; empty if unknown.
	Digest digest.Digest
	// Opaque marks a Directory that hides everything under it in lower layers.
	Opaque bool
	// Inode is equal and not empty for the names of one Tree that are hard
	// links of each other. A Tree resolves hard links: it shows them as the
	// Regular file they lead to, under their own Name, with Inode set.
	Inode string
	// Offset is where the content starts in the uncompressed tar.
	Offset int64

	implied bool   // it has no entry of its own
	sparse  bool   // Offset is where the headers start, see OpenSparse
	layer   *Layer // where Open finds the content; set by a View
}

// Plain tells whether an entry has nothing beside its name, type, size, mode,
// owner, time and digest, so that it is no more than these.
func (e *Entry) Plain() bool {
	return e.Linkname == "" && e.Devmajor == 0 && e.Devminor == 0 && e.Xattrs == nil && !e.Opaque && e.Inode == "" &&
		e.Offset == 0 && !e.implied && !e.sparse && e.layer == nil
}

// Timeless tells whether nothing says of a directory when it was made: a root, or what a layer mentions only as the
// place of something else.
func (e *Entry) Timeless() bool { return e.ModTime == 0 && (e.implied || e.Name == ".") }

// SameContent tells whether two Regular entries of views are the same bytes of
// the same layer. It reads nothing; false means that it does not know.
func SameContent(a, b Entry) bool {
	return a.layer != nil && b.layer != nil && a.layer.DiffID == b.layer.DiffID && a.layer.DiffID != "" &&
		a.Offset == b.Offset && a.Size == b.Size
}

// Tree is a read-only file tree: merged layers, or a directory of the host.
// Names are as in [Entry.Name]; symbolic links are never followed.
type Tree interface {
	// Lookup returns the entry at name, or an error that is fs.ErrNotExist.
	Lookup(ctx context.Context, name string) (Entry, error)
	// ReadDir returns the entries directly inside the directory name, sorted.
	ReadDir(ctx context.Context, name string) ([]Entry, error)
	// Open reads the content of a Regular entry of this tree.
	Open(ctx context.Context, e Entry) (io.ReadCloser, error)
}
