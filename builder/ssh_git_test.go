package builder

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshServer runs a real sshd on loopback that lets one key in, as the user of
// the test, and returns the beginning of its URLs.
func sshServer(t *testing.T, allowed ssh.PublicKey) string {
	t.Helper()
	const sshd = "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skipf("SKIPPED: needs a real sshd (Debian's openssh-server): %v", err)
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skipf("SKIPPED: needs git: %v", err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if me.Uid == "0" { // where sshd puts those who have not logged in yet
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	hostKey, _ := newKey(t, "")
	authorized := filepath.Join(dir, "authorized")
	if err := os.WriteFile(authorized, ssh.MarshalAuthorizedKey(allowed), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	config := filepath.Join(dir, "config")
	text := fmt.Sprintf(`Port %s
ListenAddress 127.0.0.1
HostKey %s
AuthorizedKeysFile %s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
PermitRootLogin yes
`, port, hostKey, authorized)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(sshd, "-D", "-e", "-f", config)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("sshd: %s", log.Bytes())
		}
	})
	for range 100 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return fmt.Sprintf("ssh://%s@%s", me.Username, addr)
		}
		select {
		case <-ended:
			t.Skipf("SKIPPED: sshd does not run here: %s", log.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("sshd does not listen")
	return ""
}

func TestGitOverSSH(t *testing.T) {
	file, public := newKey(t, "")
	other, _ := newKey(t, "")
	server := sshServer(t, public)
	dir := t.TempDir()
	env := []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.c", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.c"}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q", "-b", "main")
	for name, data := range map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "over ssh"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("add", "-A")
	git("commit", "-q", "-m", "one")
	url := server + dir + "/.git#main"

	t.Setenv("SSH_AUTH_SOCK", "") // nothing of this machine's may be used
	with := func(key string) func(*Options) { return func(o *Options) { o.SSH = []SSH{{Paths: []string{key}}} } }
	t.Run("ADD", func(t *testing.T) {
		p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nADD " + url + " /\n"})
		if got := files(t, p.build(with(file)))["a"]; got != "over ssh" {
			t.Errorf("%q", got)
		}
		p.nothingLeft()
	})
	t.Run("context", func(t *testing.T) {
		p := newProject(t, nil)
		got := files(t, p.build(func(o *Options) { with(file)(o); o.Context = url }))
		if got["a"] != "over ssh" {
			t.Errorf("%q", got)
		}
	})
	t.Run("another key", func(t *testing.T) {
		p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nADD " + url + " /\n"})
		if _, err := p.try(with(other)); err == nil || !strings.Contains(err.Error(), "Permission denied") {
			t.Errorf("%v", err)
		}
	})
	t.Run("no agent", func(t *testing.T) {
		p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nADD " + url + " /\n"})
		_, err := p.try(nil)
		var le *Error
		if !errors.As(err, &le) || le.Span.String() != "Dockerfile:2" || !strings.Contains(err.Error(), "pass --ssh default") {
			t.Errorf("%v", err)
		}
	})
}
