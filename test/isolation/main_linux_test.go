package isolation

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	// What removes the files of sub-ids is this very program, started again.
	_ "github.com/ocibuild/ocibuild/internal/worker"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[0] == worldName {
		var w world
		err := json.Unmarshal([]byte(os.Args[1]), &w)
		if err == nil {
			err = w.enter(os.Args[2:])
		}
		fmt.Fprintln(os.Stderr, worldName+":", err)
		os.Exit(125)
	}
	if os.Getuid() == 0 && os.Getenv(mountsOfOurOwn) == "" {
		os.Exit(apart())
	}
	os.Exit(m.Run())
}

// mountsOfOurOwn is in the environment where what is mounted goes with this process.
const mountsOfOurOwn = "OCIBUILD_TEST_MOUNTS"

// apart runs the tests in a process whose mounts nobody else sees.
func apart() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), mountsOfOurOwn+"=own")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // with which the kernel would kill the child
	if err := cmd.Run(); cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "run the tests apart:", err)
		return 125
	}
	return cmd.ProcessState.ExitCode()
}

// ocibuild is the binary under test, copied to where everybody may run it: a
// process of the copy is one that these tests have started.
func ocibuild(t *testing.T, dir string) string {
	t.Helper()
	path := os.Getenv("OCIBUILD")
	if path == "" {
		t.Skip("SKIPPED: make test-isolation runs it, with OCIBUILD for the binary that is tested")
	}
	from, err := os.Open(path)
	must(t, err)
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "ocibuild"), os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, err)
	must(t, to.Close())
	return to.Name()
}

// openDir makes a temporary folder that every user may enter, which those of
// t.TempDir are not.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ocibuild-isolation-*")
	must(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	must(t, os.Chmod(dir, 0o755))
	return dir
}

// compile builds a program of the project that runs in any image.
func compile(t *testing.T, pkg, to string) []byte {
	t.Helper()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	data, err := os.ReadFile(to)
	must(t, err)
	return data
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
