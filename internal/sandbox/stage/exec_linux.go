package stage

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// DefaultPath is where a command is looked for when PATH is not set.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// execError is the fault of the command, not of the sandbox.
type execError struct {
	text string
	code int
}

func (e *execError) Error() string { return e.text }

// execute becomes the command. It returns only when that did not work.
func execute(c *Config) error {
	if err := changeDir(c.Cwd); err != nil {
		return fmt.Errorf("change to the working directory %s: %w", c.Cwd, err)
	}
	if err := shutFiles(); err != nil {
		return fmt.Errorf("close the builder's files: %w", err)
	}
	if err := report(Report{Ready: true}); err != nil {
		return err
	}
	resetSignals()
	return search(c, func(name string) error { return exec(name, c) })
}

// search tries the files that the command may be until one of them works.
func search(c *Config, try func(name string) error) error {
	name := c.Args[0]
	if strings.Contains(name, "/") {
		return explain(name, try(name))
	}
	denied := false
	for dir := range strings.SplitSeq(pathOf(c.Env), ":") {
		if dir == "" {
			dir = "."
		}
		err := try(dir + "/" + name)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		case errors.Is(err, unix.EACCES):
			denied = true // a later directory may have one that works
		default:
			return explain(dir+"/"+name, err)
		}
	}
	if denied {
		return explain(name, unix.EACCES)
	}
	return &execError{fmt.Sprintf("exec: %q: not found in PATH of the image", name), 127}
}

func pathOf(env []string) string {
	for _, e := range env {
		if p, ok := strings.CutPrefix(e, "PATH="); ok {
			return p
		}
	}
	return DefaultPath
}

// errInterpreter: the file is there, what it needs to be loaded is not.
var errInterpreter = errors.New("the interpreter or loader it names is missing in the image")

func exec(name string, c *Config) error {
	// A path through /proc/self/exe would start the builder's program.
	fd, err := inroot.Open(unix.AT_FDCWD, name, unix.O_PATH, inroot.Own)
	if err != nil {
		return err
	}
	dir, err := isDir(fd)
	unix.Close(fd)
	if err != nil || dir {
		return unix.EACCES
	}
	err = unix.Exec(name, c.Args, c.Env)
	if errors.Is(err, unix.ENOENT) {
		return errInterpreter
	}
	return err
}

func explain(name string, err error) error {
	if err == nil {
		return nil
	}
	code, why := 126, err.Error()
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		code, why = 127, "not found in the image"
	case errors.Is(err, errInterpreter):
		code = 127
	case errors.Is(err, unix.EACCES):
		why = "not executable: permission denied"
	case errors.Is(err, unix.ENOEXEC):
		why = "not a program for this processor, nor a script with a #! line"
	case errors.Is(err, unix.ELOOP):
		why = "a loop of links, or a link into a process"
	}
	return &execError{fmt.Sprintf("exec: %q: %s", name, why), code}
}

// errInProc: a working directory there may be one of the host, or of another process.
var errInProc = errors.New("a step cannot work in /proc")

// changeDir goes to the working directory with the rights of the step's user
// and makes sure that it is inside the tree: a descriptor of the host, reached
// through /proc, would be a way out.
func changeDir(cwd string) error {
	fd, err := inroot.Open(unix.AT_FDCWD, cwd, unix.O_PATH|unix.O_DIRECTORY, inroot.Own)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchdir(fd); err != nil {
		return err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Getcwd(buf)
	if err != nil {
		return err
	}
	at := strings.TrimRight(string(buf[:n]), "\x00")
	if !strings.HasPrefix(at, "/") {
		return errors.New("it is outside of the image")
	}
	if under(at, "/proc") {
		return errInProc
	}
	return nil
}
