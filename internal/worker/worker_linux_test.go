package worker

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// house is a store with a worker and a layer that holds busybox.
type house struct {
	t      *testing.T
	dir    *cache.Dir
	client *Client
	base   snapshot.Layer
}

// isolationVar names the rung that these tests run on; the best one without it.
const isolationVar = "OCIBUILD_TEST_ISOLATION"

// runtimeVar names the OCI runtime that they run through; none without it.
const runtimeVar = "OCIBUILD_TEST_RUNTIME"

func newHouse(t *testing.T) *house {
	t.Helper()
	h, err := startHouse(t, Options{Isolation: os.Getenv(isolationVar), Runtime: os.Getenv(runtimeVar)})
	if err != nil {
		t.Skipf("SKIPPED: no worker can be started here: %v", err)
	}
	return h
}

func startHouse(t *testing.T, o Options) (*house, error) {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("SKIPPED: needs a static busybox: %v", err)
	}
	dir, err := cache.OpenDir(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t, dir: dir}
	o.Store, o.Debug = dir.Path(), func(s string) { t.Log(s) }
	h.client, err = Start(context.Background(), o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		// What steps have written may belong to subordinate ids.
		if err := h.client.RemoveAll(context.Background(), []string{dir.TreesPath(), dir.MountsPath()}); err != nil {
			t.Error(err)
		}
		if err := h.client.Close(); err != nil {
			t.Error(err)
		}
	})
	h.base = h.layer(
		tar.Header{Typeflag: tar.TypeDir, Name: "bin/"},
		tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Linkname: string(busybox)},
		tar.Header{Typeflag: tar.TypeLink, Name: "bin/sh", Linkname: "bin/busybox"},
		tar.Header{Typeflag: tar.TypeDir, Name: "etc/"},
		tar.Header{Typeflag: tar.TypeReg, Name: "etc/owned", Linkname: "x", Uid: 1000, Gid: 1000},
	)
	return h, nil
}

func (h *house) layer(headers ...tar.Header) snapshot.Layer {
	h.t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, th := range headers {
		content := ""
		if th.Typeflag == tar.TypeReg {
			content, th.Linkname, th.Size = th.Linkname, "", int64(len(th.Linkname))
		}
		th.Mode = 0o755
		if err := w.WriteHeader(&th); err != nil {
			h.t.Fatal(err)
		}
		io.WriteString(w, content)
	}
	w.Close()
	d := digest.FromBytes(buf.Bytes())
	if err := h.dir.PutBlob(context.Background(), &buf, d, int64(buf.Len())); err != nil {
		h.t.Fatal(err)
	}
	return snapshot.Layer{DiffID: d, Blob: h.dir.BlobPath(d), MediaType: ocispec.MediaTypeImageLayer}
}

// shell is a request to run a script of busybox's shell.
func (h *house) shell(script string, layers ...snapshot.Layer) *Request {
	return &Request{
		Layers: append([]snapshot.Layer{h.base}, layers...),
		Spec: sandbox.Spec{
			Args: []string{"/bin/sh", "-ec", "for a in cat ls mkdir rm stat id sleep chown touch mount; do alias $a=\"busybox $a\"; done\n" + script},
			Env:  []string{"PATH=/bin"},
		},
	}
}

// run executes a request and returns what it printed.
func (h *house) run(ctx context.Context, r *Request) (*Execution, string, error) {
	h.t.Helper()
	pr, pw, err := os.Pipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out := make(chan string)
	go func() {
		data, _ := io.ReadAll(pr)
		pr.Close()
		out <- string(data)
	}()
	e, err := h.client.Exec(ctx, r, sandbox.Stdio{Stdout: pw, Stderr: pw})
	pw.Close()
	return e, <-out, err
}

func (h *house) must(r *Request) (*Execution, string) {
	h.t.Helper()
	e, out, err := h.run(context.Background(), r)
	if err != nil || e.ExitCode != 0 {
		h.t.Fatalf("%+v, %v: %s", e, err, out)
	}
	return e, out
}

func (h *house) commit(e *Execution) snapshot.Layer {
	h.t.Helper()
	c, err := e.Commit(context.Background(), cache.Layer{})
	if err != nil {
		h.t.Fatal(err)
	}
	l, err := c.Wait(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	if l.DiffID != c.DiffID {
		h.t.Errorf("%s is not %s", l.DiffID, c.DiffID)
	}
	return snapshot.Layer{DiffID: l.DiffID, Blob: h.dir.BlobPath(l.Digest), MediaType: l.MediaType}
}

func TestStepsOnTopOfEachOther(t *testing.T) {
	h := newHouse(t)
	e, _ := h.must(h.shell("echo one >/etc/one; chown 5:6 /etc/one; rm /etc/owned; mkdir -p /a/b"))
	one := h.commit(e)
	e, out := h.must(h.shell("cat /etc/one; stat -c %u:%g /etc/one; ls /etc; rm -r /a; mkdir /a; echo two >/a/two", one))
	if want := "one\n5:6\none\n"; out != want {
		t.Errorf("second step sees %q, want %q", out, want)
	}
	two := h.commit(e)
	_, out = h.must(h.shell("ls /a", one, two))
	if out != "two\n" {
		t.Errorf("third step sees %q", out)
	}
	h.unpackAgain(one, two)
}

// unpackAgain asks for the same files from the blobs as from adopted trees.
func (h *house) unpackAgain(layers ...snapshot.Layer) {
	h.t.Helper()
	list := "cd /; for f in etc etc/* a a/*; do stat -c '%n %f %u %g %s %Y' $f; done"
	e, before := h.must(h.shell(list, layers...))
	e.Discard()
	if err := h.client.RemoveAll(context.Background(), []string{h.dir.TreesPath()}); err != nil {
		h.t.Fatal(err)
	}
	if _, after := h.must(h.shell(list, layers...)); after != before {
		h.t.Errorf("unpacked blobs show\n%s\nnot\n%s", after, before)
	}
}

func TestSameStepSameLayer(t *testing.T) {
	h := newHouse(t)
	var ids []digest.Digest
	for range 2 {
		e, _ := h.must(h.shell("mkdir /d; echo x >/d/x; touch -d @1700000000 /d/x /d"))
		ids = append(ids, h.commit(e).DiffID)
	}
	if ids[0] != ids[1] {
		t.Errorf("%v", ids)
	}
}

func TestExitCodeAndReason(t *testing.T) {
	h := newHouse(t)
	e, _, err := h.run(context.Background(), h.shell("exit 7"))
	if err != nil || e.ExitCode != 7 {
		t.Errorf("%+v, %v", e, err)
	}
	r := h.shell("")
	r.Spec.Args = []string{"/no/such"}
	e, _, err = h.run(context.Background(), r)
	if err != nil || e.ExitCode != 127 || e.Reason == "" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestCancelKillsTheStep(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err := h.run(ctx, h.shell("sleep 60"))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

func TestSignals(t *testing.T) {
	h := newHouse(t)
	signals := make(chan os.Signal, 1)
	r := h.shell("trap 'echo got it; exit 3' TERM; while true; do sleep 0.05; done")
	r.Signals = signals
	time.AfterFunc(500*time.Millisecond, func() { signals <- syscall.SIGTERM })
	e, out, err := h.run(context.Background(), r)
	if err != nil || e.ExitCode != 3 || out != "got it\n" {
		t.Errorf("%+v, %q, %v", e, out, err)
	}
}

func TestWorkerDies(t *testing.T) {
	h := newHouse(t)
	time.AfterFunc(300*time.Millisecond, func() { h.client.proc.kill() })
	_, _, err := h.run(context.Background(), h.shell("sleep 60"))
	if err == nil || !strings.Contains(err.Error(), "worker died") {
		t.Errorf("%v", err)
	}
	h.client, err = Start(context.Background(), Options{Store: h.dir.Path()}) // for the clean-up
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir.Path(), "tmp", "[tk][re]*-*")); len(left) != 1 {
		t.Errorf("not swept: %v", left)
	}
}

// A variable, because it must be there before the worker's init function runs.
var _ = func() bool {
	handlers["test-panic"] = func(*task, context.Context) (any, error) { panic("on purpose") }
	return true
}()

func TestPanicIsAnError(t *testing.T) {
	h := newHouse(t)
	debug := make(chan string, 1)
	h.client.options.Debug = func(s string) { debug <- s }
	k, err := h.client.call(&message{Kind: "test-panic"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.answer(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("%v", err)
	}
	if stack := <-debug; !strings.Contains(stack, "worker_linux_test.go") {
		t.Errorf("no stack: %s", stack)
	}
	h.must(h.shell("true"))
}

func TestConcurrentSteps(t *testing.T) {
	h := newHouse(t)
	ids := make(chan digest.Digest)
	for range 6 {
		go func() {
			e, out, err := h.run(context.Background(), h.shell("echo x >/x; touch -d @1 /x"))
			if err != nil {
				t.Error(out, err)
				ids <- ""
				return
			}
			ids <- h.commit(e).DiffID
		}()
	}
	first := <-ids
	for range 5 {
		if id := <-ids; id != first {
			t.Errorf("%s is not %s", id, first)
		}
	}
}

func TestClosedWorkerLeavesNothing(t *testing.T) {
	h := newHouse(t)
	h.must(h.shell("echo x >/x"))
	if err := h.client.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(h.dir.Path(), "tmp")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	if strings.Contains(string(mounts), h.dir.Path()) {
		t.Error("a mount is left")
	}
	var err error
	if h.client, err = Start(context.Background(), Options{Store: h.dir.Path()}); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownIsolation(t *testing.T) {
	_, err := Start(context.Background(), Options{Store: t.TempDir(), Isolation: "moon"})
	if err == nil || !strings.Contains(err.Error(), "\"moon\" is not one of") {
		t.Errorf("%v", err)
	}
}

// TestMain lets the test be the program that is killed while a step runs.
func TestMain(m *testing.M) {
	if store := os.Getenv("WORKER_TEST_STORE"); store != "" {
		c, err := Start(context.Background(), Options{Store: store})
		if err != nil {
			panic(err)
		}
		var r Request
		if err := json.Unmarshal([]byte(os.Getenv("WORKER_TEST_REQUEST")), &r); err != nil {
			panic(err)
		}
		_, err = c.Exec(context.Background(), &r, sandbox.Stdio{Stdout: os.Stdout})
		panic(err)
	}
	os.Exit(m.Run())
}

func TestKilledClientLeavesNoProcess(t *testing.T) {
	h := newHouse(t)
	request, err := json.Marshal(h.shell("echo running; sleep 60"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{"WORKER_TEST_STORE=" + h.dir.Path(), "WORKER_TEST_REQUEST=" + string(request), "PATH=" + os.Getenv("PATH")}
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pr.Close()
	cmd.Stdout = pw
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pw.Close()
	if _, err := io.ReadFull(pr, make([]byte, len("running\n"))); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	// The step holds the other end of the pipe for as long as it lives.
	if err := pr.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := pr.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the step lives on: %v", err)
	}
	c, err := Start(context.Background(), Options{Store: h.dir.Path()}) // sweeps what is left
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
