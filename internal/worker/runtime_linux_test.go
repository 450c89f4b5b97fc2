package worker

import (
	"archive/tar"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// through calls f with a house for each runtime that is installed.
func through(t *testing.T, f func(*testing.T, *house)) {
	own := newHouse(t)
	if o := (&Options{Runtime: "any"}); o.fits(own.client.Isolation) != nil {
		t.Skip("SKIPPED: no runtime can be used on the rung " + own.client.Isolation)
	}
	for _, name := range []string{"runc", "crun", "runsc"} {
		t.Run(name, func(t *testing.T) {
			if err := CheckRuntime(name); err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
			h, err := startHouse(t, Options{Runtime: name})
			if err != nil && name == "runsc" { // which needs more of a machine than others
				t.Skipf("SKIPPED: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			f(t, h)
		})
	}
}

// mounted is a step with mounts of all kinds, over layers that lack most places
// for them.
func (h *house) mounted(t *testing.T) *Request {
	from := []snapshot.Layer{h.layer(tar.Header{Typeflag: tar.TypeReg, Name: "sub/g", Linkname: "part"})}
	host := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(host, []byte("host"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := h.shell(`cat /bind/g /secret /host; echo c >/cache/c; touch /tmpfs/t; test -S /run/ssh
		for f in /bind /secret /host /cache /tmpfs /run/ssh; do stat -c '%n %a %u %g' $f; done
		echo no 2>/dev/null >/secret || echo secret; touch /host 2>/dev/null || echo host; touch /bind/n 2>/dev/null || echo bind
		mkdir -p /made/dir; echo x >/made/file; chown 5:6 /made/file; touch -d @1700000000 /made/file /made/dir /made/cwd /made /etc /`)
	r.Spec.ResolvConf, r.Spec.Hosts, r.Spec.Cwd = []byte("nameserver 1.2.3.4\n"), sandbox.HostsFile(""), "/made/cwd"
	r.Mounts = []Mount{
		{Type: MountBind, Target: "/bind", Layers: from, Selector: "sub", ReadOnly: true},
		{Type: MountSecret, Target: "/secret", Data: []byte("s"), UID: 4, Mode: 0o440},
		{Type: MountHost, Target: "/host", Source: host},
		{Type: MountCache, Target: "/cache", CacheID: "c", Mode: 0o700, UID: 9},
		{Type: MountTmpfs, Target: "/tmpfs", Size: 1 << 20},
		{Type: MountSSH, Target: "/run/ssh", UID: 5, GID: 6, Mode: 0o620, Serve: func(context.Context, net.Conn) {}},
	}
	return r
}

func TestRuntimesMakeTheSameLayers(t *testing.T) {
	own := newHouse(t)
	steps := func(h *house, agreement []string) (out []string, layers []snapshot.Layer) {
		e, said := h.must(h.mounted(t))
		layers = append(layers, h.commit(e))
		out = append(out, said, layers[0].DiffID.String())
		for _, script := range agreement {
			e, said := h.must(h.shell(script, layers...))
			l := h.commit(e)
			layers = append(layers, l)
			out = append(append(out, said), h.entries(l)...)
		}
		return out, layers
	}
	through(t, func(t *testing.T, h *house) {
		scripts := agreement
		if filepath.Base(h.client.options.Runtime) == "runsc" {
			scripts = withoutPipes(agreement)
		}
		want, _ := steps(own, scripts)
		got, _ := steps(h, scripts)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the sandbox (-) and the runtime (+) differ:\n%s", diff)
		}
	})
}

// withoutPipes leaves out what gVisor keeps to itself.
func withoutPipes(scripts []string) []string {
	var out []string
	r := strings.NewReplacer("busybox mkfifo pipe;", "", "busybox mkfifo p; chown 10:11 p;", "", "chown 1 p;", "")
	for _, s := range scripts {
		out = append(out, r.Replace(s))
	}
	return out
}

// A worker that is killed takes the runtime, and all that runs in it, along; the
// next one removes what it wrote.
func TestKilledWorkerLeavesNothingOfRuntimes(t *testing.T) {
	through(t, func(t *testing.T, h *house) {
		pr, pw, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer pr.Close()
		done := make(chan error, 1)
		go func() {
			_, err := h.client.Exec(context.Background(), h.shell("echo ready; sleep 1000"), sandbox.Stdio{Stdout: pw})
			pw.Close()
			done <- err
		}()
		if _, err := io.ReadFull(pr, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		if err := h.client.proc.kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil {
			t.Error("the step did not fail")
		}
		// Its output ends when its last process has.
		ended := make(chan error, 1)
		go func() { _, err := io.ReadAll(pr); ended <- err }()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(time.Minute):
			t.Error("processes of the step are left")
		}
		h.client, err = Start(context.Background(), Options{Store: h.dir.Path()}) // for the clean-up, too
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(h.dir.Path(), "tmp", "*", "bundle-*")); left != nil {
			t.Errorf("not swept: %v", left)
		}
	})
}

func TestRuntimesAreRefused(t *testing.T) {
	own := newHouse(t)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		o    Options
		want string
	}{
		"not there":     {Options{Runtime: "no-such-runtime"}, `runtime: "no-such-runtime" is no program in `},
		"no such path":  {Options{Runtime: "/no/such/runtime"}, "runtime: stat /no/such/runtime: no such file"},
		"no program":    {Options{Runtime: "/etc/passwd"}, "runtime: execute /etc/passwd: not a program"},
		"no runtime":    {Options{Runtime: script}, "runtime " + script + " does not work here: "},
		"rung of no id": {Options{Runtime: script, Isolation: IsolationUsernsSingle}, "isolation userns-single: an OCI runtime runs steps on the rungs root and userns only"},
		"chroot":        {Options{Runtime: script, Isolation: IsolationChroot}, "isolation chroot: an OCI runtime runs steps on the rungs root and userns only"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if o := (&Options{Runtime: "any"}); name == "no runtime" && o.fits(own.client.Isolation) != nil {
				t.Skip("SKIPPED: no runtime can be used on the rung " + own.client.Isolation)
			}
			tt.o.Store = own.dir.Path()
			c, err := Start(context.Background(), tt.o)
			if err == nil {
				_ = c.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestRuntimeHasNoEmulators(t *testing.T) {
	through(t, func(t *testing.T, h *house) {
		r := h.shell("true")
		r.Arch = "riscv64"
		_, _, err := h.run(context.Background(), r)
		if entries, _ := os.ReadDir("/proc/sys/fs/binfmt_misc"); len(entries) > 2 {
			t.Skip("SKIPPED: the machine has emulators of its own")
		}
		if err == nil || !strings.Contains(err.Error(), "an OCI runtime cannot be given an emulator") {
			t.Errorf("%v", err)
		}
	})
}
