package worker

import (
	"archive/tar"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// foreign is a processor that no test runs on.
const foreign = "riscv64"

// program is a request to run one of another processor.
func (h *house) program() *Request {
	l := h.layer(tar.Header{Typeflag: tar.TypeReg, Name: "program", Linkname: string(binfmt.Program(foreign))})
	return &Request{Layers: []snapshot.Layer{l}, Spec: sandbox.Spec{Args: []string{"/program"}}}
}

func needEmulator(t *testing.T) {
	t.Helper()
	if os.Getenv(isolationVar) == IsolationChroot {
		t.Skip("SKIPPED: a step cannot have emulators of its own on this rung")
	}
	for _, e := range binfmt.Find(os.Getenv("PATH")) {
		if e.Arch == foreign {
			return
		}
	}
	t.Skipf("SKIPPED: needs %s-static (package qemu-user-static)", binfmt.Name(foreign))
}

func TestStepForAnotherProcessor(t *testing.T) {
	needEmulator(t)
	h := newHouse(t)
	r := h.program()
	before, _, err := h.run(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Arch = foreign
	for range 2 {
		if _, _, err := h.run(context.Background(), r); err != nil && strings.Contains(err.Error(), "as Linux 6.7 can") {
			t.Skipf("SKIPPED: %v", err)
		}
		e, _ := h.must(r)
		if got, want := h.commit(e).DiffID, h.layer().DiffID; got != want {
			t.Errorf("it changes nothing, and leaves %s", got)
		}
	}
	r.Arch = ""
	if after, _, err := h.run(context.Background(), r); err != nil || after.ExitCode != before.ExitCode {
		t.Errorf("%+v, %v: before it was %+v", after, err, before)
	}
}

func TestNoEmulator(t *testing.T) {
	empty := t.TempDir() // but for what the worker itself needs
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if path, err := exec.LookPath(name); err == nil {
			if err := os.Symlink(path, filepath.Join(empty, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", empty)
	h := newHouse(t)
	r := h.program()
	for arch, want := range map[string]string{
		foreign: "no statically linked qemu-riscv64 is on PATH to run them: install the package qemu-user-static",
		"vax":   "programs for vax do not run on this",
	} {
		r.Arch = arch
		e, _, err := h.run(context.Background(), r)
		if err == nil && e.ExitCode == 0 {
			t.Skip("SKIPPED: this machine runs such programs as it is")
		}
		if h.client.Isolation == IsolationChroot {
			want = "programs for " + arch + " do not run on this"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want %q", arch, e, err, want)
		}
	}
}

// Where a step may not have emulators of its own, those that the machine has
// registered are used. The machine is a user namespace that allows no others.
func TestEmulatorsOfTheMachine(t *testing.T) {
	needEmulator(t)
	if os.Getenv("WORKER_TEST_MACHINE") == "" {
		inUserNamespace(t)
		return
	}
	dir := t.TempDir()
	if err := unix.Mount("binfmt_misc", dir, "binfmt_misc", 0, ""); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	defer unix.Unmount(dir, 0)
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	t.Setenv(isolationVar, "") // which is not to be had any more
	h := newHouse(t)
	r := h.program()
	r.Arch = foreign
	_, _, err := h.run(context.Background(), r)
	if err == nil || !strings.Contains(err.Error(), "cannot be registered for the step alone") || !strings.Contains(err.Error(), "no space left") {
		t.Fatalf("no emulator is registered, and the error is %v", err)
	}
	for _, e := range binfmt.Find(os.Getenv("PATH")) {
		if e.Arch == foreign {
			err = os.WriteFile(filepath.Join(dir, "register"), []byte(e.Rule+e.File+":F"), 0)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	h.must(r)
}

// inUserNamespace runs the test again, as root of one.
func inUserNamespace(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "WORKER_TEST_MACHINE=1")
	id := func(n int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: n, Size: 1}} }
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: id(os.Getuid()), GidMappings: id(os.Getgid()),
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "SKIPPED"):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("it did not run:\n%s", out)
	}
}
