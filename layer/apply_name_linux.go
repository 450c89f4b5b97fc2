package layer

import "strings"

// splitName cuts a clean name into its directory ("." for the root) and base.
func splitName(name string) (dir, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

type whiteoutType int

const (
	notWhiteout  whiteoutType = iota
	hidesName                 // ".wh.name"
	hidesAll                  // ".wh..wh..opq"
	otherMeta                 // bookkeeping of aufs, never a file of the image
	badWhiteout               // nothing that could be hidden
	hiddenParent              // lies in a directory that is named like a whiteout
)

// whiteoutKind tells what a clean name says about lower layers.
func whiteoutKind(name string) whiteoutType {
	if !strings.Contains(name, whPrefix) {
		return notWhiteout
	}
	dir, base := splitName(name)
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, whMeta) {
			return otherMeta
		}
		if strings.HasPrefix(part, whPrefix) {
			return hiddenParent
		}
	}
	switch {
	case !strings.HasPrefix(base, whPrefix):
		return notWhiteout
	case base == whOpaque:
		return hidesAll
	case strings.HasPrefix(base, whMeta):
		return otherMeta
	case base == whPrefix, base == whPrefix+".", base == whPrefix+"..":
		return badWhiteout
	}
	return hidesName
}
