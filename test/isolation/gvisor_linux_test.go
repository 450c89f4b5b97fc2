package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Inside gVisor, where open-file-description locks are missing, a build without
// RUN works with the rights of a container, and doctor tells of the locks.
func TestC4BuildsInsideGVisor(t *testing.T) {
	runsc, err := exec.LookPath("runsc")
	if err != nil || os.Getuid() != 0 {
		t.Skip("SKIPPED: gVisor (package runsc) and root are needed")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, d := range []string{"bin", "proc", "tmp", "context"} {
		must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
	}
	must(t, os.Rename(ocibuild(t, dir), filepath.Join(root, "bin/ocibuild")))
	must(t, os.WriteFile(filepath.Join(root, "context/Dockerfile"), []byte("FROM scratch\nCOPY Dockerfile /f\n"), 0o644))
	const image = "/tmp/image.tar"
	out, err := inGVisor(t, runsc, dir, "/bin/ocibuild", "build", "-o", "type=oci,dest="+image, "/context")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err = inGVisor(t, runsc, dir, "/bin/ocibuild", "doctor", "--json")
	var report struct{ Store struct{ Locks, Error string } }
	if jerr := json.Unmarshal(out, &report); jerr != nil || report.Store.Error != "" || report.Store.Locks == "" {
		t.Errorf("%v, %v: %s", err, jerr, out)
	}
	if report.Store.Locks == "open file descriptions" {
		t.Log("this gVisor has the locks that others lack")
	}
}

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
			"args": args, "cwd": "/", "env": []string{"PATH=/bin", "HOME=/tmp"}, "user": map[string]int{"uid": 0, "gid": 0},
			"capabilities": map[string][]string{"bounding": caps, "effective": caps, "permitted": caps},
		},
		"root":   map[string]any{"path": "root"},
		"mounts": []map[string]string{{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux":  map[string]any{"namespaces": []map[string]string{{"type": "pid"}, {"type": "mount"}, {"type": "network"}}},
	}
	data, err := json.Marshal(config)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600))
	id := fmt.Sprintf("ocibuild-test-%d", os.Getpid())
	cmd := exec.Command(runsc, "--platform=ptrace", "--network=none", "--root", filepath.Join(dir, "state"), "run", "--bundle", dir, id)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return out, err
}
