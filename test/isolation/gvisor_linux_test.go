package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/internal/busybox"
)

// TestC4BuildsInsideGVisor builds with the rights of a container where there are no
// open-file-description locks and nobody to give orphans to: the image is that of
// this machine, and no process is left.
func TestC4BuildsInsideGVisor(t *testing.T) {
	runsc, err := exec.LookPath("runsc")
	if err != nil || os.Getuid() != 0 {
		t.Skip("SKIPPED: gVisor (package runsc) and root are needed")
	}
	dir := openDir(t)
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "proc", "tmp", "memory"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	binary := ocibuild(t, dir)
	must(t, os.Link(binary, filepath.Join(root, "bin/ocibuild")))
	base := filepath.Join(root, "base")
	must(t, os.Mkdir(base, 0o755))
	writeBase(t, base)
	context := filepath.Join(root, "context")
	must(t, writeFiles(context, map[string][]byte{"Dockerfile": []byte(gVisorCase), "f": []byte("f"), "build": []byte(gVisorBuild)}))
	must(t, os.Chmod(filepath.Join(context, "build"), 0o755))
	must(t, os.Symlink("busybox", filepath.Join(root, "bin/sh")))
	tools, err := busybox.Static()
	must(t, err)
	program, err := os.ReadFile(tools)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(root, "bin/busybox"), program, 0o755))

	if out, err := inGVisor(t, runsc, dir, "/bin/busybox", "true"); err != nil {
		t.Skipf("SKIPPED: gVisor does not work here: %v: %s", err, out)
	}
	here := exec.Command("/bin/sh", filepath.Join(context, "build"))
	here.Env = []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "HOME=" + dir, "OCIBUILD_STORE=" + filepath.Join(dir, "store"), "AT=" + root}
	want, err := here.Output()
	must(t, err)
	got, err := inGVisor(t, runsc, dir, "/bin/sh", "/context/build")
	if err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if string(got) != string(want) {
		t.Errorf("%q there, and %q here", got, want)
	}
	doctor, err := inGVisor(t, runsc, dir, "/bin/ocibuild", "doctor", "--json")
	var report struct {
		Default string
		Store   struct{ Locks, Error string }
	}
	if jerr := json.Unmarshal(doctor, &report); jerr != nil || report.Store.Error != "" || report.Store.Locks == "" || report.Default != "chroot" {
		t.Errorf("%v, %v: %s", err, jerr, doctor)
	}
}

// gVisorCase leaves processes behind, in a session of their own.
const gVisorCase = `FROM busybox
COPY f /x/f
RUN (setsid sh -c 'sleep 1000 & sleep 1000' &) ; sleep 0.2; mkdir -p /d/e && echo x >/d/e/f && chown 5:6 /d/e/f && ln /d/e/f /d/g
RUN --mount=type=secret,id=s,required=false --mount=type=cache,target=/c cat /d/g >/c/h && rm /d/g && ls -ln /d/e >/dev/null && chmod 600 /x/f
`

const gVisorBuild = `set -e
cd "${AT:-/}"
export SOURCE_DATE_EPOCH=1262304000
ocibuild build -q -t busybox base
ocibuild build -q -o type=image,rewrite-timestamp=true context
test -n "$AT" || ! grep -l sleep /proc/[0-9]*/cmdline
`

// inGVisor runs a program in a container of gVisor with Docker's capabilities.
func inGVisor(t *testing.T, runsc, dir string, args ...string) ([]byte, error) {
	t.Helper()
	caps := []string{ // Docker's
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
	config := map[string]any{
		"ociVersion": "1.0.2",
		"process": map[string]any{
			"args": args, "cwd": "/", "env": []string{"PATH=/bin", "HOME=/tmp", "OCIBUILD_STORE=/memory/store"}, "user": map[string]int{"uid": 0, "gid": 0},
			"capabilities": map[string][]string{"bounding": caps, "effective": caps, "permitted": caps},
		},
		"root": map[string]any{"path": "root"},
		"mounts": []map[string]string{
			{"destination": "/proc", "type": "proc", "source": "proc"}, {"destination": "/memory", "type": "tmpfs", "source": "tmpfs"},
		},
		"linux": map[string]any{"namespaces": []map[string]string{{"type": "pid"}, {"type": "mount"}, {"type": "network"}}},
	}
	data, err := json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600))
	id := fmt.Sprintf("ocibuild-test-%d", os.Getpid())
	cmd := exec.Command(runsc, "--platform=ptrace", "--network=none", "--root", filepath.Join(dir, "state"), "run", "--bundle", dir, id)
	cmd.Stdin = strings.NewReader("") // it takes what it is given, and /dev/null is this machine's
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return out, err
}
