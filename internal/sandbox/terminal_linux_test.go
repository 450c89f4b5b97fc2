package sandbox

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const terminalVar = "OCIBUILD_SANDBOX_TERMINAL"

// A shell on a terminal has job control, and the terminal comes back.
func TestTerminal(t *testing.T) {
	im := newImage(t)
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no terminals here: %v", err)
	}
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no terminals here: %v", err)
	}
	r, w, err := os.Pipe()
	must(t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), terminalVar+"="+im.root)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	w.Close()
	terminal.Close()
	_, err = master.WriteString("echo job control: $-\nexit 9\n")
	must(t, err)
	shown, _ := io.ReadAll(master) // ends with EIO when the last process is gone
	told, err := io.ReadAll(r)
	must(t, err)
	must(t, cmd.Wait())
	if strings.Contains(string(shown), "job control turned off") || !strings.Contains(string(shown), "job control: smi") {
		t.Errorf("the terminal shows: %s", shown)
	}
	if string(told) != "code 9 <nil>, foreground true" {
		t.Errorf("told: %s", told)
	}
}

func onTerminal(root string) int {
	s := &Spec{Rootfs: root, Args: []string{"sh", "-i"}, Interactive: true}
	p, err := Start(context.Background(), s, Stdio{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	code, err := p.Wait()
	group, _ := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	fmt.Fprintf(os.NewFile(3, "told"), "code %d %v, foreground %v", code, err, group == unix.Getpgrp())
	return 0
}
