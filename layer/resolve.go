package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// maxSymlinks is the number of symbolic links that [Resolve] follows.
const maxSymlinks = 255

// Lookuper is what [Resolve] needs of a [Tree].
type Lookuper interface {
	Lookup(ctx context.Context, name string) (Entry, error)
}

var errTooManyLinks = errors.New("too many levels of symbolic links")

// Resolve follows the symbolic links in name, inside the tree as chroot would:
// absolute targets start at its root and ".." stops there. The last component is
// followed only if followLast says so. Components that do not exist are kept as
// they are, so that a path can be resolved before it is made.
func Resolve(ctx context.Context, t Lookuper, name string, followLast bool) (string, error) {
	at, links := "", 0
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = nameKey(path.Dir(keyName(at)))
			continue
		}
		at = childKey(at, part)
		if !followLast && !anyPart(rest) {
			break
		}
		e, err := t.Lookup(ctx, at)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("resolve %s: %w", quoteName(name), err)
		}
		if err != nil || e.Type != Symlink {
			continue
		}
		if links++; links > maxSymlinks {
			return "", fmt.Errorf("resolve %s: %w", quoteName(name), errTooManyLinks)
		}
		at = nameKey(path.Dir(at))
		if strings.HasPrefix(e.Linkname, "/") {
			at = ""
		}
		rest = append(strings.Split(e.Linkname, "/"), rest...)
	}
	return keyName(at), nil
}

// anyPart tells whether something is left to walk.
func anyPart(rest []string) bool {
	for _, part := range rest {
		if part != "" && part != "." {
			return true
		}
	}
	return false
}
