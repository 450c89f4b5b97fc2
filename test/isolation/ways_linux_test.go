package isolation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/worker"
)

// way is one way to build: who does it, with what rights, and on which rung. It is
// a column of the table, and has a store of its own.
type way struct {
	name  string
	rung  string   // which it has to be on
	tags  []string // what cases call it, beside the rung
	world world
	flags []string // without any, the rung is found by the builder
	// refuses is what is said to a RUN where that is not what the case says.
	refuses *regexp.Regexp

	ready func(dir string) error // makes the folder what it is to be; nil: as it is
	on    fileSystem             // of the folder; nil: that of the temporary files
	off   []func() error         // undoes what on has done

	binary, dir string
	home        string
	absent      string // why it cannot be had here
	spent       atomic.Int64
}

// nobody is in no /etc/passwd.
const (
	nobody   = "54321"
	nobodyID = 54321
)

// ways are all that there are for who runs the tests. The first one that can be
// had makes the images that the others are compared with.
func ways(dir string) ([]*way, error) {
	if os.Getuid() != 0 {
		return []*way{
			{name: "user", rung: worker.IsolationUserns},
			{name: "user-single", rung: worker.IsolationUsernsSingle, flags: []string{"--isolation", "userns-single"}},
			{name: "none", rung: worker.IsolationNone, flags: []string{"--isolation", "none"}},
			{name: "user-runc", rung: worker.IsolationUserns, tags: []string{"runc"}, flags: []string{"--runtime", "runc"}},
			{name: "user-crun", rung: worker.IsolationUserns, tags: []string{"crun"}, flags: []string{"--runtime", "crun"}},
		}, nil
	}
	ids, none := filepath.Join(dir, "ids"), filepath.Join(dir, "no-ids")
	if err := errors.Join(os.WriteFile(ids, []byte("root:1000000000:65536\n"), 0o644), os.WriteFile(none, nil, 0o644)); err != nil {
		return nil, err
	}
	tester := os.Getenv("OCIBUILD_TESTER")
	if tester == "" {
		tester = "ocibuild-tester"
	}
	pod := filepath.Join(dir, "pod")
	return []*way{
		{name: "root", rung: worker.IsolationRoot},
		{name: "root-userns", rung: worker.IsolationUserns, world: world{SubIDs: ids}, flags: []string{"--isolation", "userns"}},
		{name: "root-single", rung: worker.IsolationUsernsSingle, flags: []string{"--isolation", "userns-single"}},
		{name: "root-chroot", rung: worker.IsolationChroot, tags: []string{"flat"}, flags: []string{"--isolation", "chroot"}},
		{name: "none", rung: worker.IsolationNone, flags: []string{"--isolation", "none"}},
		{name: "runc", rung: worker.IsolationRoot, tags: []string{"runc"}, flags: []string{"--runtime", "runc"}},
		{name: "crun", rung: worker.IsolationRoot, tags: []string{"crun"}, flags: []string{"--runtime", "crun"}},
		{name: "user", rung: worker.IsolationUserns, world: world{User: tester}},
		{name: "user-single", rung: worker.IsolationUsernsSingle, world: world{User: tester, SubIDs: none}},
		{name: "user-runc", rung: worker.IsolationUserns, world: world{User: tester}, tags: []string{"runc"}, flags: []string{"--runtime", "runc"}},
		{name: "user-crun", rung: worker.IsolationUserns, world: world{User: tester}, tags: []string{"crun"}, flags: []string{"--runtime", "crun"}},
		{name: "container", rung: worker.IsolationChroot, tags: []string{"flat"}, world: world{Docker: true}},
		{name: "root-flat", rung: worker.IsolationRoot, tags: []string{"flat"}, on: onOverlay},
		{name: "user-flat", rung: worker.IsolationUserns, world: world{User: tester}, tags: []string{"flat"}, on: onOverlay},
		{name: "user-single-flat", rung: worker.IsolationUsernsSingle, world: world{User: tester, SubIDs: none}, tags: []string{"flat"}, on: onOverlay},
		{
			name: "pod", rung: worker.IsolationNone, world: world{Docker: true, Writable: pod, User: nobody, Bare: true},
			refuses: regexp.MustCompile(`no way to run build steps: isolation userns: .*isolation userns-single: `),
		},
	}, nil
}

// names are what a case may call it.
func (w *way) names() []string { return append([]string{w.rung}, w.tags...) }

// open makes the store, finds out whether the way can be had, and builds the base.
func (w *way) open(binary, dir, base string) error {
	w.binary, w.dir = binary, filepath.Join(dir, w.name)
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return err
	}
	if err := w.give(); err != nil {
		return err
	}
	if w.on != nil {
		if err := w.on(w); err != nil {
			return err
		}
	}
	if w.ready != nil {
		if err := w.ready(w.dir); err != nil {
			return err
		}
	}
	if err := w.probe(); err != nil || w.absent != "" {
		return err
	}
	if o := w.run(nil, "build", "-q", "-t", "busybox", base); o.code != 0 {
		return fmt.Errorf("%s: build the base: %s", w.name, o.stderr)
	}
	return nil
}

// give gives the folder to who uses it, and finds the home.
func (w *way) give() error {
	if w.world.User == "" {
		w.home = os.Getenv("HOME")
		return nil
	}
	uid, err := strconv.Atoi(w.world.User)
	if err != nil {
		u, err := user.Lookup(w.world.User)
		if err != nil {
			w.absent = fmt.Sprintf("%v; scripts/test.sh makes that user", err)
			return nil
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return err
		}
		w.home = u.HomeDir
	}
	return os.Chown(w.dir, uid, uid)
}

// runtime tells whether the way is through an OCI runtime.
func (w *way) runtime() bool { return len(w.flags) == 2 && w.flags[0] == "--runtime" }

// probe asks the program which way it would take, and tries the one it is told.
func (w *way) probe() error {
	if w.absent != "" {
		return nil
	}
	if w.runtime() {
		if _, err := exec.LookPath(w.flags[1]); err != nil {
			w.absent = err.Error()
			return nil
		}
	}
	o := w.run(nil, "doctor", "--json")
	var report struct {
		Isolation []struct {
			Name, Reason string
			Available    bool
		}
		Default string
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		return fmt.Errorf("%s: doctor: %w: %s", w.name, err, o.stderr)
	}
	for _, i := range report.Isolation {
		if i.Name == w.rung && !i.Available {
			w.absent = i.Reason
			return nil
		}
		if i.Name == w.rung && slices.Contains(w.tags, "flat") && !strings.HasPrefix(i.Reason, "flat trees") {
			return fmt.Errorf("%s: trees are not flat there, but %s", w.name, i.Reason)
		}
	}
	if report.Default == "" {
		report.Default = worker.IsolationNone
	}
	if len(w.flags) == 0 && report.Default != w.rung {
		return fmt.Errorf("%s: the default is %q, not %s: %s", w.name, report.Default, w.rung, o.stdout)
	}
	return nil
}

// longest is how long a call may take before it is interrupted: no case waits for
// anything, and a busy machine is not that slow.
const longest = 2 * time.Minute

// outcome is what a call of the program came to.
type outcome struct {
	code           int
	stdout, stderr string
}

// run calls the program as who the way is.
func (w *way) run(env []string, args ...string) outcome {
	cmd := w.world.command(w.binary, args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "OCIBUILD_STORE=" + filepath.Join(w.dir, "store"),
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(epoch.Unix(), 10),
	}, env...)
	if w.home != "" {
		cmd.Env = append(cmd.Env, "HOME="+w.home)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return outcome{code: -1, stderr: err.Error()}
	}
	began := time.Now()
	defer func() { w.spent.Add(int64(time.Since(began))) }()
	late := time.AfterFunc(longest, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer late.Stop()
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return outcome{code: -1, stderr: err.Error()}
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// build builds a case and keeps the image under its name.
func (w *way) build(c *buildCase, agent string) outcome {
	args := append([]string{"build", "-q", "-t", c.name, "-o", "type=image,rewrite-timestamp=true"}, w.flags...)
	for _, f := range c.flags {
		args = append(args, strings.NewReplacer("$CASE", c.context, "$AGENT", agent).Replace(f))
	}
	return w.run(c.env, append(args, c.context)...)
}

// leave undoes what makes the folder what it is.
func (w *way) leave(t *testing.T) {
	for _, undo := range slices.Backward(w.off) {
		must(t, undo())
	}
	w.off = nil
}

// close wants nothing to be left, and removes what sub-ids may own.
func (w *way) close(t *testing.T) {
	t.Helper()
	defer w.leave(t)
	store := filepath.Join(w.dir, "store")
	entries, err := os.ReadDir(filepath.Join(store, "tmp"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for _, e := range entries {
		t.Errorf("%s: %s is left in the store", w.name, filepath.Join("tmp", e.Name()))
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	for _, p := range all { // any of them may end meanwhile
		if mounts, _ := os.ReadFile(p + "/mountinfo"); bytes.Contains(mounts, []byte(store+"/")) {
			t.Errorf("%s: a mount of the store is left in %s", w.name, p)
		}
		for _, link := range []string{"/root", "/exe", "/cwd"} {
			if at, _ := os.Readlink(p + link); strings.HasPrefix(at, store+"/") || strings.TrimSuffix(at, " (deleted)") == w.binary {
				t.Errorf("%s: a process is left: %s%s is %s", w.name, p, link, at)
			}
		}
	}
	if os.Getuid() != 0 && len(entries) == 0 {
		if c, err := worker.Start(context.Background(), worker.Options{Store: store}); err == nil {
			_ = c.RemoveAll(context.Background(), []string{filepath.Join(store, "trees"), filepath.Join(store, "mounts")}) // what is left shows when the folder is removed
			_ = c.Close()
		}
	}
}

// openAll opens all ways at once, and returns those that can be had and, of the
// others, why they cannot.
func openAll(t *testing.T, dir string) (present []*way, absent []string) {
	t.Helper()
	binary, base := ocibuild(t, dir), filepath.Join(dir, "base")
	must(t, os.Mkdir(base, 0o755))
	writeBase(t, base)
	all, err := ways(dir)
	must(t, err)
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, w := range all {
		wg.Go(func() { errs[i] = w.open(binary, dir, base) })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	for _, w := range all {
		if w.absent != "" {
			if os.Getenv("OCIBUILD_TESTER") != "" && !w.runtime() {
				t.Errorf("%s: a user was made for these tests, and so every way that needs no runtime has to be there: %s", w.name, w.absent)
			}
			w.leave(t)
			absent = append(absent, fmt.Sprintf("%s: %s", w.name, w.absent))
			continue
		}
		present = append(present, w)
		t.Cleanup(func() { w.close(t) })
	}
	return present, absent
}

// startAgent serves a socket that says hello to everybody.
func startAgent(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "agent")
	l, err := net.Listen("unix", path)
	must(t, err)
	must(t, os.Chmod(path, 0o777))
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			fmt.Fprintln(c, "hello")
			c.Close()
		}
	})
	return path
}
