package builder

import (
	"errors"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/internal/worker"
)

// A runtime is no part of what an image is: the layers are the same through any
// of them, and a step that one has done is done.
func TestRuntimes(t *testing.T) {
	for _, name := range []string{"runc", "crun"} {
		t.Run(name, func(t *testing.T) {
			dockerfile := "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\n" +
				`RUN ["/bin/busybox", "sh", "-c", "cd /; busybox mkdir d; echo x >d/f; busybox chown 5:6 d/f; busybox touch -d @1700000000 d/f d"]` + "\n"
			p := newProject(t, map[string]string{"Dockerfile": dockerfile})
			p.needRun()
			if c, err := worker.Start(t.Context(), worker.Options{Store: p.store, Runtime: name}); err != nil {
				t.Skipf("SKIPPED: %v", err)
			} else if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			want := p.build(func(o *Options) { o.NoCache = true })
			got := p.build(func(o *Options) { o.NoCache, o.Runtime = true, name })
			for i, l := range got.Layers {
				if l.DiffID != want.Layers[i].DiffID {
					t.Errorf("layer %d is %s, want %s", i, l.DiffID, want.Layers[i].DiffID)
				}
			}
			p.build(nil)
			if did := p.did(); len(did) > 0 {
				t.Errorf("done again without the runtime: %v", did)
			}
			p.nothingLeft()
		})
	}
}

func TestNoSuchRuntime(t *testing.T) {
	_, err := newProject(t, map[string]string{"Dockerfile": "FROM scratch\n"}).try(func(o *Options) { o.Runtime = "/no/such/runtime" })
	var oe *OptionError
	if len(Isolations()) == 0 {
		t.Skip("SKIPPED: RUN is not possible here, whoever runs it")
	}
	if !errors.As(err, &oe) || !strings.HasPrefix(err.Error(), "runtime: ") {
		t.Errorf("%v", err)
	}
}
