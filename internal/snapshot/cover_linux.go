package snapshot

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// mounted are the places where every step has mounts.
var mounted = []string{"/proc", "/sys", "/dev", "/etc/hosts", "/etc/resolv.conf"}

// covers are the places in a tree that mounts cover.
type covers []string

// covering returns the places of the mounts that every step has and of others, which
// are paths in the tree.
func covering(root *inroot.Root, others []string) covers {
	c := slices.Clone(mounted)
	for _, o := range others {
		c = append(c, resolved(root, o))
	}
	return c
}

// has tells whether a mount covers a place, which no link leads away from.
func (c covers) has(at string) bool {
	return slices.ContainsFunc(c, func(o string) bool { return at == o || strings.HasPrefix(at, o+"/") })
}

// Covering returns what tells whether one of the mounts that every step has, or one
// of others, covers a place in a tree. Paths are in the tree; those of others may
// lead through its links.
func Covering(tree string, others []string) (func(at string) bool, error) {
	root, err := inroot.OpenRoot(tree, "the image")
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return covering(root, others).has, nil
}

// resolved is where a path leads, as far as it exists.
func resolved(root *inroot.Root, name string) string {
	fd, err := root.Open(name, unix.O_PATH, inroot.Within)
	if err != nil {
		return path.Clean("/" + name)
	}
	defer unix.Close(fd)
	at, err := root.PathOf(fd)
	if err != nil {
		return path.Clean("/" + name)
	}
	return at
}
