package layer

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// Limits of a name, those of Linux: an entry beyond them can never be unpacked.
const (
	maxName      = 4095
	maxComponent = 255
)

// Names of marker files (image-spec, layer.md#whiteouts).
const (
	whPrefix = ".wh."
	whMeta   = ".wh..wh."
	whOpaque = ".wh..wh..opq"
)

// CompareNames orders names by component: '/' sorts below every other byte, so
// that what lies in a directory follows it directly ("a", "a/b", "a-b"). The
// root "." comes first.
func CompareNames(a, b string) int { return compareKeys(nameKey(a), nameKey(b)) }

func compareKeys[A, B string | []byte](a A, b B) int {
	for i := range min(len(a), len(b)) {
		if x, y := a[i], b[i]; x != y {
			if x == '/' || (y != '/' && x < y) {
				return -1
			}
			return 1
		}
	}
	return cmp.Compare(len(a), len(b))
}

// nameKey is the name by which entries are sorted: the root is the empty prefix
// of every other name.
func nameKey(name string) string {
	if name == "." {
		return ""
	}
	return name
}

func keyName(key string) string {
	if key == "" {
		return "."
	}
	return key
}

// isUnder tells whether key lies somewhere below the directory dir.
func isUnder[K string | []byte](key K, dir string) bool {
	if dir == "" {
		return len(key) > 0
	}
	return len(key) > len(dir) && key[len(dir)] == '/' && string(key[:len(dir)]) == dir
}

// childKey is the name of what is called base in the directory dir.
func childKey(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}

// cleanName brings a name as tars have it ("./a/", "/a") into the form of
// Entry.Name. A name that climbs is refused, not clamped: no builder writes one.
func cleanName(name string) (string, error) {
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if strings.Contains(name, "..") {
		for part := range strings.SplitSeq(name, "/") {
			if part == ".." {
				return "", errors.New(`".." in name`)
			}
		}
	}
	return clean, checkName(clean)
}

// checkName tells why a name is none that an Entry may have.
func checkName(name string) error {
	if len(name) > maxName {
		return errors.New("name too long")
	}
	if strings.IndexByte(name, 0) >= 0 {
		return errors.New("NUL in name")
	}
	if !isClean(name) {
		return errors.New("name is not a clean relative path")
	}
	for rest := name; len(rest) > maxComponent; {
		slash := strings.LastIndexByte(rest[:maxComponent+1], '/')
		if slash < 0 {
			return errors.New("part of name too long")
		}
		rest = rest[slash+1:]
	}
	return nil
}

// isClean tells whether path.Clean leaves a relative name as it is, and it does not
// climb. Names may be long, and each is asked several times.
func isClean(name string) bool {
	if name == "." {
		return true
	}
	first, _, _ := strings.Cut(name, "/")
	return !isDots(first) && !isDots(name[strings.LastIndexByte(name, '/')+1:]) &&
		!strings.Contains(name, "//") && !strings.Contains(name, "/./") && !strings.Contains(name, "/../")
}

func isDots(part string) bool { return part == "" || part == "." || part == ".." }

// checkPlain refuses names that a tar reader would take for a whiteout.
func checkPlain(name string) error {
	if !strings.Contains(name, whPrefix) {
		return nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, whPrefix) {
			return fmt.Errorf("a layer cannot hold a file named %q", part)
		}
	}
	return nil
}

// marker tells whether a name is one of the marker files of a layer, and returns
// what it stands for: a whiteout, an opaque directory, or no entry at all.
func marker(name string) (e Entry, ok bool, err error) {
	if !strings.Contains(name, whPrefix) {
		return Entry{}, false, nil
	}
	dir, base := path.Dir(name), path.Base(name)
	for part := range strings.SplitSeq(nameKey(dir), "/") {
		if strings.HasPrefix(part, whMeta) {
			return Entry{}, true, nil // bookkeeping of a union file system
		}
		if strings.HasPrefix(part, whPrefix) {
			return Entry{}, false, errors.New("lies in what is named like a whiteout")
		}
	}
	hidden, ok := strings.CutPrefix(base, whPrefix)
	switch {
	case !ok:
		return Entry{}, false, nil
	case base == whOpaque:
		e = impliedDir(nameKey(dir))
		e.Opaque = true
		return e, true, nil
	case strings.HasPrefix(base, whMeta):
		return Entry{}, true, nil
	case hidden == "" || hidden == "." || hidden == "..":
		return Entry{}, false, errors.New("whiteout of no name")
	}
	return Entry{Name: childKey(nameKey(dir), hidden), Type: Whiteout}, true, nil
}

// quoteName quotes a name for an error message; a hostile one may be huge.
func quoteName(name string) string {
	const most = 200
	if len(name) > most {
		return strconv.Quote(name[:most]) + "…"
	}
	return strconv.Quote(name)
}

// KeepXattr tells whether an extended attribute is part of an image: those of
// overlayfs and of our own (internal/owner) would make it show other files than
// the layer's, and labels of security modules are the policy of one machine.
func KeepXattr(name string) bool {
	switch name {
	case "security.selinux", "security.ima", "security.evm":
		return false
	}
	return !strings.HasPrefix(name, "trusted.overlay.") && !strings.HasPrefix(name, "user.overlay.") && !strings.HasPrefix(name, "user.ocibuild.")
}
