package examples

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/internal/sandbox/confined"
)

// contained runs a build with the rights that root has in a container of Docker's
// defaults.
func contained(t *testing.T, binary string, args ...string) {
	t.Helper()
	var log bytes.Buffer
	cmd := confined.Command(binary, append(args, "--no-cache", "--progress", "plain"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if !strings.Contains(log.String(), "chroot isolation is not a security boundary") {
		t.Errorf("it was not built on isolation chroot:\n%s", &log)
	}
}

// TestC1PythonInAContainer installs a compiled wheel; the examples of the other
// toolchains are always built so.
func TestC1PythonInAContainer(t *testing.T) {
	binary := ocibuild(t)
	dir := files(t, map[string]string{"Dockerfile": `FROM python:3.10-slim
RUN pip install --no-cache-dir markupsafe && python -c 'import markupsafe._speedups'
RUN python -c 'import multiprocessing as m; assert m.Pool(2).map(abs, [-1, -2]) == [1, 2]'
`})
	contained(t, binary, append(append([]string{"build"}, machineFlags(t, []string{"pip"})...), dir)...)
	nothingLeft(t, os.Getenv("OCIBUILD_STORE"), binary)
}
