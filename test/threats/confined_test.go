//go:build linux

package threats

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/ocibuild/ocibuild/internal/sandbox/confined"
)

// inDocker makes a command one of a container with Docker's rights.
func inDocker(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root, to have rights that can be given up")
	}
	c := confined.Command(cmd.Path, cmd.Args[1:])
	c.Env, c.Dir = cmd.Env, cmd.Dir
	return c
}

// TestX20WithoutNamespaces: where a step sees the builder, nobody with the same
// rights can look into its memory, be it the step or what else is in the container.
func TestX20WithoutNamespaces(t *testing.T) {
	p := newPlace(t)
	base := p.armed()
	p.write("Dockerfile", "FROM "+base+"\nRUN echo run''ning; sleep 60\n")
	args := []string{"build", "--progress", "plain", "--isolation", "chroot", "--runtime", "", "."}
	cmd := inDocker(t, p.command(args...))
	p.until(cmd, "running")
	sleep := inDocker(t, exec.Command("sh", "-c", "echo here; exec sleep 60"))
	p.until(sleep, "here")
	pids := []string{strconv.Itoa(sleep.Process.Pid), strconv.Itoa(cmd.Process.Pid)}
	for _, pid := range below(t, cmd.Process.Pid) {
		if line, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && bytes.HasPrefix(line, []byte("ocibuild-")) {
			pids = append(pids, pid)
		}
	}
	if len(pids) < 4 {
		t.Errorf("builder, worker and reaper are to be seen, not %v", pids[1:])
	}
	peek := inDocker(t, exec.Command(program(t, "github.com/ocibuild/ocibuild/test/threats/attack"), append([]string{"peek"}, pids...)...))
	out, err := peek.Output()
	must(t, err)
	if got := strings.Fields(string(out)); !slices.Equal(got, pids[:1]) {
		t.Errorf("of %v these can be traced: %v", pids, got)
	}
	must(t, sleep.Process.Kill())
	_ = sleep.Wait()
	must(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait() // it was interrupted
	p.gone()
}

// TestX40WhatARuntimeIsTold: a program in front of the runtime keeps what it is told.
func TestX40WhatARuntimeIsTold(t *testing.T) {
	if isolation != "" {
		t.Skip("SKIPPED: the rung is given, by OCIBUILD_TEST_ISOLATION")
	}
	p := newPlace(t)
	needsRun(t)
	for _, name := range []string{"runc", "crun"} {
		path, err := exec.LookPath(name)
		if err != nil || os.Getuid() != 0 {
			t.Skipf("SKIPPED: needs root and %s: %v", name, err)
		}
		out := filepath.Join(p.dir, "out", name)
		must(t, os.MkdirAll(out, 0o755))
		front := filepath.Join(out, "front")
		must(t, os.WriteFile(front, []byte("#!/bin/sh\ncase \"$*\" in *--bundle*)\n  for a; do test \"$last\" = --bundle && cp \"$a/config.json\" "+out+"; test \"$last\" = --root && stat -c %a \"${a%/*}\" >"+out+"/mode; last=$a; done\n"+
			"  env >"+out+"/env; pwd >"+out+"/pwd; echo \"$@\" >"+out+"/args ;;\nesac\nexec "+path+" \"$@\"\n"), 0o755))
		p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN echo "+name+"\n")
		t.Setenv("CANARY", secret)
		if o := p.call("build", "-q", "--runtime", front, "."); o.code != 0 {
			t.Fatalf("%s: %s", name, o.stderr)
		}
		data, err := os.ReadFile(filepath.Join(out, "config.json"))
		must(t, err)
		var spec specs.Spec
		must(t, json.Unmarshal(data, &spec))
		if len(spec.Annotations) > 0 || spec.Process.Terminal || len(spec.Linux.Devices) > 0 || spec.Linux.RootfsPropagation == "shared" {
			t.Errorf("%s is told of %+v %v", name, spec.Annotations, spec.Linux)
		}
		if h := spec.Hooks; h != nil && len(h.CreateRuntime)+len(h.StartContainer)+len(h.Poststart)+len(h.Poststop) > 0 { // crun's own: see package bundle
			t.Errorf("%s has hooks: %+v", name, h)
		}
		for _, m := range spec.Mounts { // all else is mounted before
			if filepath.IsAbs(m.Source) && !strings.HasPrefix(m.Source, spec.Root.Path+"/") {
				t.Errorf("%s mounts %s of this machine", name, m.Source)
			}
		}
		for file, bad := range map[string]string{"env": secret, "config.json": secret, "pwd": p.context} {
			if data, err := os.ReadFile(filepath.Join(out, file)); err != nil || strings.Contains(string(data), bad) {
				t.Errorf("%s of %s: %s, %v", file, name, data, err)
			}
		}
		if mode, err := os.ReadFile(filepath.Join(out, "mode")); err != nil || strings.TrimSpace(string(mode)) != "700" {
			t.Errorf("others may enter the states of %s: %s, %v", name, mode, err)
		}
	}
}

// below are the numbers of the processes that a process has started, and theirs.
func below(t *testing.T, pid int) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	must(t, err)
	var all []string
	for _, task := range tasks {
		data, _ := os.ReadFile(task) // or it has just ended
		for _, child := range strings.Fields(string(data)) {
			n, err := strconv.Atoi(child)
			must(t, err)
			all = append(append(all, child), below(t, n)...)
		}
	}
	return all
}
