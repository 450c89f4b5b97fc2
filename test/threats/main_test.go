//go:build linux

package threats

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	// What runs commands is this very program, started again.
	_ "github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/busybox"
)

func TestMain(m *testing.M) {
	os.Setenv("GORACE", "atexit_sleep_ms=0") // of workers, of which there are many
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if built.dir != "" {
			os.RemoveAll(built.dir)
		}
		os.Exit(code)
	}))
}

// built are the programs that the tests need, each made when it is asked for.
var built struct {
	sync.Mutex
	dir   string
	paths map[string]string
}

// temporary is where such things go that outlive one test.
var temporary = os.TempDir()

const commandLine = "github.com/ocibuild/ocibuild/cmd/ocibuild"

// program builds a package of the project, without cgo: it runs in any image.
// That of the command line may be given, in OCIBUILD.
func program(t *testing.T, pkg string) string {
	t.Helper()
	if path := os.Getenv("OCIBUILD"); path != "" && pkg == commandLine {
		return path
	}
	built.Lock()
	defer built.Unlock()
	if path := built.paths[pkg]; path != "" {
		return path
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp(temporary, "ocibuild-threats-*")
		if err != nil {
			t.Fatal(err)
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	path := filepath.Join(built.dir, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "TMPDIR="+temporary)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: the program %s cannot be built here: %v\n%s", pkg, err, out)
	}
	built.paths[pkg] = path
	return path
}

// staticBusybox is the program that base images have.
var staticBusybox = sync.OnceValues(func() ([]byte, error) {
	path, err := busybox.Static()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// applets are the commands that the base image has.
var applets = strings.Fields("sh cat cp dd echo env find grep head id ln ls mkdir mknod mount mv nc od ps rm rmdir sed seq sha256sum " +
	"sleep sort stat tail test touch tr true umount umask wc wget yes chmod chown kill readlink date hostname setsid timeout")
