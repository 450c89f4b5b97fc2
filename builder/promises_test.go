//go:build unix

package builder

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

func TestBuildWithoutRunStartsNoWorker(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch AS a\nCOPY f /\nFROM scratch\nCOPY --from=a /f /g\nWORKDIR /w\n", "f": "1"})
	b, err := newBuild(t.Context(), p.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.build(); err != nil {
		t.Fatal(err)
	}
	if b.worker != nil {
		t.Error("a worker was started")
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
}

func TestIndependentStagesRunSideBySide(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	// Each stage waits for the other: one after the other they never end.
	stage := func(me, other string) string {
		return "FROM box AS " + me + "\nRUN --mount=type=cache,target=/m echo >/m/" + me + "; until test -e /m/" + other + "; do /bin/busybox sleep 0.05; done; echo " + me + " >/" + me + "\n"
	}
	p.write("Dockerfile", onBusybox+stage("one", "two")+stage("two", "one")+"FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := Build(ctx, p.options())
	if err != nil {
		t.Fatal(err)
	}
	if got := files(t, res.Images[0]); got["one"] != "one\n" || got["two"] != "two\n" {
		t.Errorf("files %v", got)
	}
}

// notice is a sink that makes a file when it hears of a layer.
type notice struct{ dir string }

func (n *notice) Layer(_ context.Context, l *layer.Layer) error {
	return os.WriteFile(filepath.Join(n.dir, l.DiffID.Encoded()), nil, 0o644)
}

func (n *notice) Write(context.Context, *Result) error { return nil }

func TestSinksHearOfLayersWhileStepsRun(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	seen := t.TempDir()
	if err := os.Chmod(seen, 0o755); err != nil {
		t.Fatal(err)
	}
	// The command ends when the layer below it was spoken of.
	p.write("Dockerfile", onBusybox+"FROM box\nCOPY Dockerfile /\nRUN n=0; until test $(/bin/busybox ls /seen | /bin/busybox wc -l) -ge 2; do /bin/busybox sleep 0.05; n=$((n+1)); test $n -lt 400 || exit 9; done\n")
	if _, err := p.try(func(o *Options) {
		o.Sinks = []Sink{&notice{seen}}
		o.Volumes = []Volume{{Source: seen, Target: "/seen"}}
	}); err != nil {
		t.Error(err)
	}
}

func TestFirstFailureIsTheOneReported(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"FROM box AS slow\nRUN /bin/busybox sleep 60\nFROM box AS bad\nRUN exit 9\nFROM scratch\nCOPY --from=slow / /\nCOPY --from=bad / /\n")
	began := time.Now()
	_, err := p.try(nil)
	var ee *ExitError
	if !errors.As(err, &ee) || ee.Code != 9 {
		t.Errorf("error %v", err)
	}
	if time.Since(began) > 30*time.Second {
		t.Error("the other step was waited for")
	}
}

func TestInterruptedRunLeavesNothing(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN echo started; /bin/busybox sleep 61.5\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := p.options()
	tell := o.Progress
	o.Progress = func(e Event) {
		tell(e)
		if e.Kind == "log" && strings.Contains(string(e.Data), "started") {
			cancel()
		}
	}
	if _, err := Build(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(p.store, "tmp")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if pid := processWith("sleep\x0061.5"); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Errorf("process %d is left", pid)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err == nil && strings.Contains(string(mounts), p.store) {
		t.Error("a mount is left")
	}
}

// processWith finds a process by a part of its command line.
func processWith(args string) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, d := range dirs {
		data, _ := os.ReadFile(d)
		if strings.Contains(string(data), args) {
			var pid int
			for _, c := range filepath.Base(filepath.Dir(d)) {
				pid = pid*10 + int(c-'0')
			}
			return pid
		}
	}
	return 0
}

func TestNothingOfTheNetworkFilesIsKept(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	p.write("Dockerfile", onBusybox+"RUN /bin/busybox cat /etc/resolv.conf /etc/hosts >/seen\n")
	got := files(t, p.build(nil))
	for _, name := range []string{"etc/resolv.conf", "etc/hosts"} {
		if _, ok := got[name]; ok {
			t.Errorf("%s is in the image", name)
		}
	}
	if !strings.Contains(got["seen"], "localhost") {
		t.Errorf("the step saw %q", got["seen"])
	}
}
