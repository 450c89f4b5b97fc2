package doctor

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/internal/worker"
)

// The default is the rung that a worker is started on.
func TestDefaultIsWhatIsTaken(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store")
	r := Examine(context.Background(), store, os.Getenv("PATH"))
	c, err := worker.Start(context.Background(), worker.Options{Store: store})
	if err != nil {
		if r.Default != "" {
			t.Errorf("%s is said to work: %v", r.Default, err)
		}
		t.Skipf("SKIPPED: no worker can be started here: %v", err)
	}
	defer c.Close()
	if r.Default != c.Isolation {
		t.Errorf("%q, but a worker is on %q", r.Default, c.Isolation)
	}
	names := worker.Isolations()
	if len(r.Rungs) != len(names) {
		t.Fatalf("%+v", r.Rungs)
	}
	for i, g := range r.Rungs {
		if g.Name != names[i] || g.Reason == "" {
			t.Errorf("%+v, want that of %s", g, names[i])
		}
	}
	if r.Store.Path != store || r.Store.FileSystem == "" || r.Store.Free <= 0 {
		t.Errorf("%+v", r.Store)
	}
	if r.Platforms[0].Arch != runtime.GOARCH {
		t.Errorf("%+v", r.Platforms)
	}
}

func TestStoreThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := Examine(context.Background(), filepath.Join(file, "store"), "")
	if r.Default != "" || !strings.Contains(r.Store.Error, "not a directory") {
		t.Errorf("%+v", r)
	}
}
