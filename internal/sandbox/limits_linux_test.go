package sandbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
)

// needGroups skips tests of limits where no control group can be made.
func needGroups(t *testing.T, l cgroup.Limits) {
	t.Helper()
	g, err := cgroup.New(l)
	if err != nil {
		t.Skipf("SKIPPED: no control groups here: %v", err)
	}
	must(t, g.Remove())
}

// groups lists the control groups that this process has made and not removed.
func groups(t *testing.T) []string {
	t.Helper()
	var found []string
	must(t, filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil // another process's group has just gone
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), fmt.Sprintf("ocibuild-%d-", os.Getpid())) {
			found = append(found, path)
		}
		return nil
	}))
	return found
}

func TestMemoryLimit(t *testing.T) {
	limits := cgroup.Limits{Memory: 32 << 20}
	needGroups(t, limits)
	im := newImage(t)
	// tr remembers nothing; a shell's variable grows until the kernel ends it.
	hog := Spec{Args: []string{"sh", "-c", `x=0123456789abcdef; while true; do x=$x$x; done`}, Limits: limits}
	r, hit := im.exceeding(hog)
	if r.code != 137 || !strings.Contains(hit, "out of memory") || !strings.Contains(hit, "33554432") {
		t.Errorf("code %d, %v, %q", r.code, r.err, hit)
	}
	r, hit = im.exceeding(Spec{Args: []string{"sh", "-c", "echo fine"}, Limits: limits})
	if r.ok(t) != "fine\n" || hit != "" {
		t.Errorf("%q, hit %q", r.out, hit)
	}
	if left := groups(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestPidsLimit(t *testing.T) {
	limits := cgroup.Limits{Pids: 20}
	needGroups(t, limits)
	im := newImage(t)
	bomb := Spec{Args: []string{"sh", "-c", `i=0; while test $i -lt 40; do sleep 5 & i=$((i+1)); done`}, Limits: limits}
	r, hit := im.exceeding(bomb)
	if r.code == 0 || !strings.Contains(hit, "too many processes") || !strings.Contains(hit, "20") {
		t.Errorf("code %d, %v, %q: %s", r.code, r.err, hit, r.out)
	}
	if left := groups(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

// exceeding runs a step and tells which limit it ran into.
func (im *image) exceeding(s Spec) (result, string) {
	im.t.Helper()
	s.Rootfs = im.root
	r, w, err := os.Pipe()
	must(im.t, err)
	defer r.Close()
	p, err := Start(context.Background(), &s, Stdio{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return result{code: -1, start: err}, ""
	}
	out, _ := readAll(r)
	res := result{out: out}
	res.code, res.err = p.Wait()
	return res, p.Exceeded()
}

// Nobody asked for the default limit, so a machine that does not let us is fine.
func TestDefaultPidsLimit(t *testing.T) {
	im := newImage(t)
	var inside []string
	started, done := make(chan struct{}), make(chan result, 1)
	go func() {
		close(started)
		done <- im.sh("sleep 1; cat /proc/self/cgroup")
	}()
	<-started
	for range 100 {
		if inside = groups(t); inside != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	out := (<-done).ok(t)
	if strings.Contains(out, "ocibuild") {
		t.Errorf("the step sees the name of its group:\n%s", out)
	}
	if g, err := cgroup.New(cgroup.Limits{Pids: 1000}); err != nil {
		if inside != nil {
			t.Errorf("groups %v", inside)
		}
		t.Skipf("SKIPPED: no control groups here: %v", err)
	} else {
		must(t, g.Remove())
	}
	if inside == nil {
		t.Error("the step ran without a control group")
	}
	if left := groups(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

func TestCancelledStepLeavesNoGroup(t *testing.T) {
	needGroups(t, cgroup.Limits{Pids: 100})
	im := newImage(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(200*time.Millisecond, cancel)
	im.runCtx(ctx, Spec{Args: []string{"sh", "-c", "sleep 60 & sleep 60"}, Limits: cgroup.Limits{Pids: 100}})
	if left := groups(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

// What was asked for is never silently left out.
func TestLimitThatCannotBeHad(t *testing.T) {
	im := newImage(t)
	limits := cgroup.Limits{Memory: 32 << 20}
	g, err := cgroup.New(limits)
	if err == nil {
		must(t, g.Remove())
		t.Skip("SKIPPED: control groups can be made here")
	}
	r := im.run(Spec{Args: []string{"true"}, Limits: limits})
	if r.start == nil || !strings.Contains(r.start.Error(), "control groups: ") || !strings.Contains(r.start.Error(), "memory") {
		t.Errorf("%v", r.start)
	}
}

func TestGroupParent(t *testing.T) {
	name := fmt.Sprintf("ocibuild.test-%d", os.Getpid())
	limits := cgroup.Limits{Parent: "/" + name + "/inner"}
	needGroups(t, limits)
	im := newImage(t)
	out := im.run(Spec{Args: []string{"sh", "-c", "cat /proc/self/cgroup"}, Limits: limits}).ok(t)
	if strings.Contains(out, name) {
		t.Errorf("the step sees the parent's name:\n%s", out)
	}
	hierarchy := "/sys/fs/cgroup/pids/" // of v1
	if _, err := os.Stat(hierarchy); err != nil {
		hierarchy = "/sys/fs/cgroup/"
		must(t, os.WriteFile(hierarchy+"cgroup.subtree_control", []byte("+pids"), 0))
	}
	if _, err := os.Stat(hierarchy + name); err == nil {
		t.Errorf("%s is left", name)
	}
	// One that was there before stays, and its own limit holds for the step.
	dir := hierarchy + name
	must(t, os.Mkdir(dir, 0o755))
	defer os.Remove(dir)
	must(t, os.WriteFile(dir+"/pids.max", []byte("20"), 0))
	r := im.run(Spec{Args: []string{"sh", "-c", `i=0; while test $i -lt 40; do sleep 2 & i=$((i+1)); done`}, Limits: cgroup.Limits{Parent: name}})
	if r.code == 0 {
		t.Error("the parent's limit does not hold")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}

func TestUlimits(t *testing.T) {
	im := newImage(t)
	script := "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc"
	if got := im.sh(script).ok(t); !strings.HasPrefix(got, "1024\n") || !strings.HasSuffix(got, "0\n0\n") {
		t.Errorf("by default %q", got)
	}
	got := im.run(Spec{Args: []string{"sh", "-c", script}, Ulimits: []Ulimit{{"nofile", 300, 400}, {"core", 0, 0}}}).ok(t)
	if want := "300\n400\n0\n0\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for want, u := range map[string]Ulimit{
		`"files" is not one of core, cpu`:                {"files", 1, 1},
		"nofile: the soft limit 2 is above the hard one": {"nofile", 2, 1},
		"nofile: the soft limit -1 is above":             {"nofile", -1, 1},
		"must not be negative":                           {"nofile", -2, -2},
	} {
		r := im.run(Spec{Args: []string{"true"}, Ulimits: []Ulimit{u}})
		if r.start == nil || !strings.Contains(r.start.Error(), want) {
			t.Errorf("%v: %v", u, r.start)
		}
	}
}

func TestUlimitThatMayNotBeRaised(t *testing.T) {
	im := newImage(t)
	r := im.run(Spec{Args: []string{"sh", "-c", "ulimit -Hl"}, Ulimits: []Ulimit{{"memlock", -1, -1}}})
	switch {
	case r.start == nil && r.out == "unlimited\n": // with CAP_SYS_RESOURCE, or where it is unlimited
	case r.start != nil && strings.Contains(r.start.Error(), "ulimit memlock to unlimited:unlimited: this user may not raise it above"):
	default:
		t.Errorf("%q, %v", r.out, r.start)
	}
}

func TestReadOnlyRoot(t *testing.T) {
	im := newImage(t)
	s := Spec{Args: []string{"sh", "-c", "touch /x 2>&1; touch /m/x /dev/shm/x /new/m/x && echo mounts"}, ReadOnlyRoot: true, Cwd: "/new",
		Mounts: []Mount{{Type: Tmpfs, Target: "/m"}, {Type: Tmpfs, Target: "/new/m"}}}
	out := im.run(s).ok(t)
	if !strings.Contains(out, "Read-only file system") || !strings.HasSuffix(out, "mounts\n") {
		t.Errorf("%q", out)
	}
}
