package stage

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/inroot"
)

// confine makes a security module take hold of the command when it is executed,
// and of nothing before that. It is told through a file of /proc; what an image
// has there could take the words and do nothing.
func confine(p *Profile) error {
	if p == nil {
		return nil
	}
	if err := tellModule(p); err != nil {
		return fmt.Errorf("confine the step as %s: %w", p.Name, err)
	}
	return nil
}

func tellModule(p *Profile) error {
	proc, err := unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc: %w", err)
	}
	defer unix.Close(proc)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(proc, &fs); err != nil {
		return fmt.Errorf("look at /proc: %w", err)
	}
	if fs.Type != unix.PROC_SUPER_MAGIC {
		return errors.New("/proc is another file system")
	}
	name := "thread-self/attr/" + p.Attr
	fd, err := inroot.Open(proc, name, unix.O_WRONLY, inroot.Within)
	if err != nil {
		return fmt.Errorf("open /proc/%s: %w", name, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(p.Text)); err != nil {
		return fmt.Errorf("write to /proc/%s: %w", name, err)
	}
	return nil
}

// labelled adds to the options of a file system the label that its files need for
// the step to use them.
func (c *Config) labelled(options ...string) []string {
	if c.Profile == nil || c.Profile.Files == "" {
		return options
	}
	return append(options, "context="+c.Profile.Files)
}
