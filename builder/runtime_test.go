package builder

import (
	"errors"
	"os"
	"path/filepath"
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

// TestF3WorkerProgram: another program is the worker, and one that is none is named.
func TestF3WorkerProgram(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\n" + `RUN ["/bin/busybox", "sleep", "0.5"]` + "\n"})
	p.needRun()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	other := filepath.Join(t.TempDir(), "other")
	f, err := os.OpenFile(other, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadFrom(self); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ended, seen := make(chan struct{}), make(chan bool)
	go func() {
		for {
			select {
			case <-ended:
				seen <- false
				return
			default:
			}
			if processOf(other) {
				seen <- true
				return
			}
		}
	}()
	p.build(func(o *Options) { o.Worker = other })
	close(ended)
	if !<-seen {
		t.Error("the other program was not the worker")
	}
	_, err = p.try(func(o *Options) { o.NoCache, o.Worker = true, "/bin/true" })
	if err == nil || !strings.Contains(err.Error(), "worker program /bin/true: ") {
		t.Errorf("%v", err)
	}
}

// processOf tells whether a process of a program runs.
func processOf(program string) bool {
	all, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range all {
		if at, err := os.Readlink(exe); err == nil && at == program {
			return true
		}
	}
	return false
}
