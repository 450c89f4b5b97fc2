package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ocibuild/ocibuild/internal/busybox"
	"github.com/ocibuild/ocibuild/internal/worker"
)

func TestMain(m *testing.M) {
	if os.Getenv("OCIBUILD_TEST_MAIN") != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"ocibuild": main, "in-docker": inDocker, "in-pod": inPod})
}

func TestScripts(t *testing.T) {
	stores := t.TempDir()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// Beside the working directory, which is often the build context.
			store := filepath.Join(stores, filepath.Base(env.WorkDir))
			env.Setenv("OCIBUILD_STORE", store)
			env.Setenv("XDG_RUNTIME_DIR", env.WorkDir) // where skopeo looks for credentials
			return nil
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "interrupted": interrupted, "nothing-left": nothingLeft, "no-groups": noGroups,
			"busybox-image": busyboxImage, "registry": startRegistry, "same": same, "web": startWeb, "git-server": startGit, "list-layers": listLayers,
			"damage": damage, "wrong-mirror": wrongMirror,
		},
	})
}

// condition knows [run]: commands can be run here, and there is something to run;
// [single]: so they can in a user namespace with one id; [docker]: we are root and
// can see how it is in a container; [pod]: the same for one without any rights; and
// [groups]: control groups can be made.
func condition(cond string) (bool, error) {
	switch cond {
	case "run":
		return canRun() == nil, nil
	case "single":
		return canSingle() == nil, nil
	case "docker":
		return canRunOn(worker.IsolationChroot) == nil && canRunOn(worker.IsolationRoot) == nil, nil
	case "pod":
		return canPod() == nil, nil
	case "groups":
		return canLimit(), nil
	case "runc", "crun":
		return canRunThrough(cond) == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

var (
	canRun    = sync.OnceValue(func() error { return canRunOn("") })
	canSingle = sync.OnceValue(func() error { return canRunOn(worker.IsolationUsernsSingle) })
)

func canRunOn(isolation string) error {
	if _, err := busybox.Static(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "probe-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := worker.Start(context.Background(), worker.Options{Store: dir, Isolation: isolation})
	if err != nil {
		scripts := "scripts that need RUN"
		if isolation != "" {
			scripts = "scripts for isolation " + isolation
		}
		fmt.Fprintln(os.Stderr, scripts, "are skipped:", err)
		return err
	}
	return c.Close()
}

// exits runs a command that must end with that exit code: exits 2 ocibuild …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	code := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// interrupted starts a command, waits for a text on its standard error or
// output, sends so many SIGINTs and wants exit code 130 soon:
// interrupted TIMES TEXT COMMAND…
func interrupted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupted TIMES TEXT COMMAND…")
	}
	times, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	seen := &watch{text: []byte(args[0]), found: make(chan struct{})}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.Getenv("WORK"), seen, seen
	cmd.Env = append(os.Environ(), "OCIBUILD_STORE="+ts.Getenv("OCIBUILD_STORE"))
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-seen.found:
	case err := <-ended:
		ts.Fatalf("it ended before %q appeared: %v\n%s", args[0], err, seen.String())
	case <-time.After(time.Minute):
		_ = cmd.Process.Kill()
		ts.Fatalf("%q did not appear", args[0])
	}
	for range times {
		ts.Check(cmd.Process.Signal(os.Interrupt))
		time.Sleep(50 * time.Millisecond) // signals that wait are one
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		ts.Fatalf("SIGINT does not end it")
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted {
		ts.Fatalf("exit code %d, want %d\n%s", code, exitInterrupted, seen.String())
	}
}

// watch tells when a text was written.
type watch struct {
	text  []byte
	found chan struct{}
	mu    sync.Mutex
	buf   bytes.Buffer
	done  bool
}

func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if !w.done && bytes.Contains(w.buf.Bytes(), w.text) {
		w.done = true
		close(w.found)
	}
	return len(p), nil
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// nothingLeft wants no temporary file, no mount in the store, and no process
// with that word in its command line: nothing-left WORD
func nothingLeft(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: nothing-left WORD")
	}
	store := ts.Getenv("OCIBUILD_STORE")
	entries, err := os.ReadDir(filepath.Join(store, "tmp"))
	ts.Check(err)
	for _, e := range entries {
		ts.Fatalf("%s is left in the store", filepath.Join("tmp", e.Name()))
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	ts.Check(err)
	if bytes.Contains(mounts, []byte(store)) {
		ts.Fatalf("a mount is left:\n%s", mounts)
	}
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	ts.Check(err)
	for _, p := range all {
		line, _ := os.ReadFile(p) // it may have ended meanwhile
		if bytes.Contains(line, []byte(args[0])) {
			ts.Fatalf("a process is left: %s: %q", p, line)
		}
	}
}

// busyboxImage builds busybox:latest of this machine's static busybox.
func busyboxImage(ts *testscript.TestScript, _ bool, _ []string) {
	from, err := busybox.Static()
	ts.Check(err)
	dir, err := os.MkdirTemp("", "busybox-*")
	ts.Check(err)
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "root", "bin")
	ts.Check(os.MkdirAll(bin, 0o755))
	data, err := os.ReadFile(from)
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(bin, "busybox"), data, 0o755))
	for _, applet := range strings.Fields("sh cat echo env id ls mkdir pwd rm sleep test touch true false wget kill") {
		ts.Check(os.Symlink("busybox", filepath.Join(bin, applet)))
	}
	dockerfile := "FROM scratch\nCOPY root /\nCMD [\"sh\"]\n"
	ts.Check(os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644))
	ts.Check(ts.Exec("ocibuild", "-q", "-t", "busybox", dir))
}

// startRegistry starts docker-registry; $REGISTRY is where it listens.
func startRegistry(ts *testscript.TestScript, _ bool, _ []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	addr := l.Addr().String()
	l.Close()
	dir, err := os.MkdirTemp("", "registry-*")
	ts.Check(err)
	config := filepath.Join(dir, "config.yml")
	ts.Check(os.WriteFile(config, fmt.Appendf(nil,
		"version: 0.1\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", dir, addr), 0o644))
	cmd := exec.Command("docker-registry", "serve", config)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	})
	for range 100 {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			ts.Setenv("REGISTRY", addr)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("docker-registry does not listen on %s", addr)
}

// same wants the last standard output to be equal to a file, but for spaces
// around it; or two files: same FILE [FILE]
func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 1 {
		args = append(args, "stdout")
	}
	a, b := strings.TrimSpace(ts.ReadFile(args[0])), strings.TrimSpace(ts.ReadFile(args[1]))
	if (a == b) == neg {
		ts.Fatalf("%s: %q\n%s: %q", args[0], a, args[1], b)
	}
}
