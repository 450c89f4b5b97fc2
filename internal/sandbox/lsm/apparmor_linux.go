package lsm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// dockerDefault is the profile that Docker loads, and Podman under another name.
const dockerDefault = "docker-default"

func (m machine) appArmor() Module {
	out := Module{Name: "AppArmor"}
	dir, err := m.appArmorDir()
	var current []byte
	if err == nil {
		current, err = os.ReadFile(filepath.Join(m.attr, dir, "current"))
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL) {
		out.Reason = "this kernel does without it"
		return out
	}
	if err != nil {
		out.Reason = err.Error()
		return out
	}
	// A step of a confined program is confined as well. And signals from one
	// profile to another may be forbidden, even those that are to end the step.
	if is := text(current); is != "unconfined" {
		out.Reason = "it confines this program already: " + is
		return out
	}
	p := &Profile{Name: dockerDefault, Attr: filepath.Join(dir, "exec"), Text: "exec " + dockerDefault}
	switch err := m.try(p); {
	case errors.Is(err, fs.ErrNotExist):
		out.Reason = fmt.Sprintf("the profile %s is not loaded, as Docker does when it starts", p.Name)
	case err != nil:
		out.Reason = fmt.Sprintf("the profile %s cannot be had: %v", p.Name, err)
	default:
		out.Profile = p
	}
	return out
}

// appArmorDir is where its attributes are: before Linux 5.8 several modules had
// to share theirs.
func (m machine) appArmorDir() (string, error) {
	const own = "apparmor"
	if _, err := os.Stat(filepath.Join(m.attr, own)); !errors.Is(err, fs.ErrNotExist) {
		return own, err
	}
	enabled, err := os.ReadFile(filepath.Join(m.sys, "module/apparmor/parameters/enabled"))
	if err == nil && text(enabled) != "Y" {
		err = fs.ErrNotExist
	}
	return "", err
}

// try asks for a profile on a thread that executes nothing: it is not unlocked,
// and so ends with the goroutine.
func (m machine) try(p *Profile) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		f, err := os.OpenFile(filepath.Join(m.attr, p.Attr), os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(p.Text)
			f.Close()
		}
		done <- err
	}()
	return <-done
}

// text is what the kernel says, with or without an end of line or of string.
func text(data []byte) string { return strings.TrimRight(string(data), "\x00\n") }
