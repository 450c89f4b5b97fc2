package worker

import (
	"os"
	"runtime"

	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
)

// CheckRuntime tells what is wrong with the name or path of an OCI runtime,
// without executing it. None is right: it stands for the sandbox of our own.
func CheckRuntime(name string) error {
	if name == "" || runtime.GOOS != "linux" { // where RUN is refused anyway
		return nil
	}
	_, err := bundle.Find(name, os.Getenv("PATH"))
	return err
}
