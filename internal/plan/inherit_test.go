package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ocibuild/ocibuild/internal/graph"
)

func TestB6DirectoriesInheritTheGroup(t *testing.T) {
	tr := New(tree(t, "h/ 2755 1000:1001"), Options{Now: time.Unix(1000, 0)})
	must(t, tr.Mkdir(ctx, &graph.Mkdir{Path: "/h/app/sub", Mode: 0o755, Parents: true, Timestamp: -1}, nil))
	must(t, tr.Mkdir(ctx, &graph.Mkdir{Path: "/h/mine", Mode: 0o755, Parents: true, Timestamp: -1}, &Owner{5, 6}))
	must(t, tr.Mkfile(ctx, &graph.Mkfile{Path: "/h/note", Mode: 0o644, Timestamp: -1}, nil))
	must(t, tr.Copy(ctx, tree(t, "f=1", "d/sub/g=2"), dockerfileCopy("f", "/h/n/f"), nil))
	must(t, tr.Copy(ctx, tree(t, "d/sub/g=2"), dockerfileCopy("d", "/h/d"), nil))
	want := "h/ 2755 1000:1001\nh/app/ 2755 0:1001\nh/app/sub/ 2755 0:1001\nh/d/ 2755 0:1001\nh/d/sub/ 755\nh/d/sub/g=2 644\n" +
		"h/mine/ 2755 5:6\nh/n/ 2755 0:1001\nh/n/f=1 644\nh/note= 644 0:1001\n"
	if diff := cmp.Diff(want, changes(t, tr)); diff != "" {
		t.Error(diff)
	}
}
