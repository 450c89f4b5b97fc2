package plan

import (
	"math/bits"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// A plan may have a million nodes.
func TestG1ANodeIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(node{}); bits.UintSize == 64 && n > 112 {
		t.Errorf("a node has %d bytes", n)
	}
}

func TestANodeGivesBackItsEntry(t *testing.T) {
	plain := layer.Entry{Name: "a/b", Type: layer.Regular, Size: 7, Mode: 0o4755, UID: 1, GID: 1<<32 - 1, ModTime: -5, Digest: digest.FromString("x")}
	for what, change := range map[string]func(*layer.Entry){
		"plain": func(*layer.Entry) {}, "link": func(e *layer.Entry) { e.Type, e.Linkname = layer.Symlink, "x" },
		"device": func(e *layer.Entry) { e.Type, e.Devmajor, e.Devminor = layer.Char, 1, 3 }, "opaque": func(e *layer.Entry) { e.Type, e.Opaque = layer.Directory, true },
		"xattrs": func(e *layer.Entry) { e.Xattrs = map[string]string{"user.x": "y"} }, "inode": func(e *layer.Entry) { e.Inode = "1:2" },
		"owner": func(e *layer.Entry) { e.UID = -1 }, "offset": func(e *layer.Entry) { e.Offset = 512 }, "no digest": func(e *layer.Entry) { e.Digest = "" },
	} {
		e := plain
		change(&e)
		c := content{tree: New(nil, Options{}), from: "from"}
		if what == "opaque" {
			c = content{data: strings.NewReader("x")}
		}
		n := &node{}
		n.fill(e, c)
		if diff := cmp.Diff(e, n.entry("a/b"), cmpopts.IgnoreUnexported(layer.Entry{})); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		if n.content() != c {
			t.Errorf("%s: other content", what)
		}
	}
}
