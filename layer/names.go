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
	if name == "" || name[0] == '/' || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") {
		return errors.New("name is not a clean relative path")
	}
	if len(name) <= maxComponent {
		return nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxComponent {
			return errors.New("part of name too long")
		}
	}
	return nil
}

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

// quoteName quotes a name for an error message; a hostile one may be huge.
func quoteName(name string) string {
	const most = 200
	if len(name) > most {
		return strconv.Quote(name[:most]) + "…"
	}
	return strconv.Quote(name)
}

// isOverlayXattr tells attributes that belong to overlayfs. In a layer they
// would let it redirect or hide files outside its own, so they never enter one.
func isOverlayXattr(key string) bool {
	return strings.HasPrefix(key, "trusted.overlay.") || strings.HasPrefix(key, "user.overlay.")
}
