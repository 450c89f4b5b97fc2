package builder

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// newKey makes a key and returns the file and the key that belongs to it.
func newKey(t *testing.T, passphrase string) (file string, public ssh.PublicKey) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "a test")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "a test", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if public, err = ssh.NewPublicKey(pub); err != nil {
		t.Fatal(err)
	}
	return file, public
}

// newAgent runs an agent with one key, in this process, and returns its socket.
func newAgent(t *testing.T) (socket string, keys agent.Agent) {
	t.Helper()
	keys = agent.NewKeyring()
	file, _ := newKey(t, "")
	if err := addKey(keys, file); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "agent") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = agent.ServeAgent(keys, c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done; os.RemoveAll(dir) })
	return socket, keys
}

// client connects to an agent as git does.
func client(t *testing.T, list ...SSH) agent.ExtendedAgent {
	t.Helper()
	a, err := openAgents(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	path, err := a.socket("default")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := a.close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Dir(path)); err == nil {
			t.Errorf("%s is left", path)
		}
	})
	return agent.NewClient(c)
}

func TestAgentMayBeUsedAndNotChanged(t *testing.T) {
	socket, behind := newAgent(t)
	file, _ := newKey(t, "")
	for name, s := range map[string]SSH{"an agent": {Paths: []string{socket}}, "a key": {ID: "default", Paths: []string{file}}} {
		t.Run(name, func(t *testing.T) {
			a := client(t, s)
			keys, err := a.List()
			if err != nil || len(keys) != 1 {
				t.Fatalf("%v, %v", keys, err)
			}
			data := []byte("to be signed")
			signature, err := a.Sign(keys[0], data)
			if err != nil {
				t.Fatal(err)
			}
			if err := keys[0].Verify(data, signature); err != nil {
				t.Error(err)
			}
			_, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			_, extension := a.Extension("session-bind@openssh.com", []byte("x"))
			for what, err := range map[string]error{
				"add":    a.Add(agent.AddedKey{PrivateKey: private}),
				"remove": a.Remove(keys[0]), "remove all": a.RemoveAll(),
				"lock": a.Lock([]byte("x")), "unlock": a.Unlock([]byte("x")), "extension": extension,
			} {
				if err == nil {
					t.Errorf("%s is allowed", what)
				}
			}
			if again, err := a.List(); err != nil || len(again) != 1 || !bytes.Equal(again[0].Blob, keys[0].Blob) {
				t.Errorf("afterwards there are %v, %v", again, err)
			}
		})
	}
	if keys, err := behind.List(); err != nil || len(keys) != 1 {
		t.Errorf("the agent has %v, %v", keys, err)
	}
}

func TestRawAgentIsPassedOn(t *testing.T) {
	socket, behind := newAgent(t)
	a := client(t, SSH{Paths: []string{socket}, Raw: true})
	if err := a.RemoveAll(); err != nil {
		t.Error(err)
	}
	if keys, err := behind.List(); err != nil || len(keys) != 0 {
		t.Errorf("the agent has %v, %v", keys, err)
	}
}

func TestAgentsThatCannotBeHad(t *testing.T) {
	socket, _ := newAgent(t)
	file, _ := newKey(t, "")
	encrypted, _ := newKey(t, "secret")
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	for want, list := range map[string][]SSH{
		"SSH_AUTH_SOCK is not set":     {{}},
		"no such file":                 {{Paths: []string{"/nowhere/s"}}},
		"is encrypted: add it to an":   {{Paths: []string{encrypted}}},
		"text holds no private key":    {{Paths: []string{text}}},
		"must be the only path":        {{Paths: []string{file, socket}}},
		"raw wants exactly one socket": {{Raw: true}},
		"is no socket":                 {{Paths: []string{file}, Raw: true}},
		"ssh: a: ":                     {{ID: "a", Paths: []string{text}}},
		"default is given twice":       {{Paths: []string{file}}, {ID: "default", Paths: []string{file}}},
	} {
		_, err := openAgents(t.Context(), list)
		var oe *OptionError
		if !errors.As(err, &oe) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	t.Setenv("SSH_AUTH_SOCK", socket)
	if a, err := openAgents(t.Context(), []SSH{{}, {ID: "two"}}); err != nil || a.serve("") == nil || a.serve("two") == nil || a.serve("three") != nil {
		t.Errorf("%v, %v", a, err)
	}
}

// needTool shows every RUN this machine's programs, so that it can use one.
func needTool(t *testing.T, tool string) []Volume {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("SKIPPED: needs %s (Debian's openssh-client): %v", tool, err)
	}
	var v []Volume
	for _, dir := range []string{"/usr", "/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			v = append(v, Volume{Source: dir, Target: dir})
		}
	}
	return v
}

func TestRunWithSSH(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	programs := needTool(t, "ssh-add")
	socket, behind := newAgent(t)
	file, public := newKey(t, "")
	keys, err := behind.List()
	if err != nil {
		t.Fatal(err)
	}
	p.write("Dockerfile", onBusybox+`RUN --mount=type=ssh echo $SSH_AUTH_SOCK >/sock && /usr/bin/ssh-add -l >/agent && ! /usr/bin/ssh-add -D
RUN --mount=type=ssh,id=key,target=/x/y/s,required --mount=type=ssh SSH_AUTH_SOCK=/x/y/s /usr/bin/ssh-add -l >/key
RUN --mount=type=ssh,mode=0666,uid=3,gid=4 /bin/busybox stat -c '%a %u %g' $SSH_AUTH_SOCK >/mode
RUN --mount=type=ssh,id=absent test ! -e $SSH_AUTH_SOCK
RUN ! test -e /run && ! test -e /x && test -z "$SSH_AUTH_SOCK"
`)
	with := func(o *Options) {
		o.Volumes, o.SSH = programs, []SSH{{Paths: []string{socket}}, {ID: "key", Paths: []string{file}}}
	}
	got := made(t, p.build(with))
	if got["sock"] != "/run/buildkit/ssh_agent.0\n" || got["mode"] != "666 3 4\n" {
		t.Errorf("%q", got)
	}
	for name, key := range map[string]ssh.PublicKey{"agent": keys[0], "key": public} {
		if !strings.Contains(got[name], ssh.FingerprintSHA256(key)) {
			t.Errorf("%s: %q does not list %s", name, got[name], ssh.FingerprintSHA256(key))
		}
	}
	if keys, err := behind.List(); err != nil || len(keys) != 1 {
		t.Errorf("the agent has %v, %v", keys, err)
	}
	for name := range got {
		if strings.HasPrefix(name, "run") || strings.HasPrefix(name, "x/") {
			t.Errorf("%s is in the image", name)
		}
	}
	p.nothingLeft()
	p.write("Dockerfile", onBusybox+"RUN --mount=type=ssh,id=nope,required true\n")
	_, err = p.try(with)
	var le *Error
	if !errors.As(err, &le) || le.Span.String() != "Dockerfile:4" || !strings.Contains(err.Error(), `SSH agent "nope" is required but not given; pass --ssh nope`) {
		t.Errorf("required: %v", err)
	}
}

// A raw socket need not be an agent's.
func TestRunWithARawSocket(t *testing.T) {
	p := newProject(t, nil)
	p.needRun()
	programs := needTool(t, "perl")
	dir, err := os.MkdirTemp("", "raw")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		data, _ := io.ReadAll(c)
		_, _ = io.WriteString(c, "all of: "+string(data))
	}()
	p.write("Dockerfile", onBusybox+`RUN --mount=type=ssh,id=raw /usr/bin/perl -MIO::Socket::UNIX -e 'my $s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die $!; print $s "words"; $s->shutdown(1); print <$s>' >/out
`)
	got := made(t, p.build(func(o *Options) {
		o.Volumes, o.SSH = programs, []SSH{{ID: "raw", Paths: []string{filepath.Join(dir, "s")}, Raw: true}}
	}))
	l.Close()
	<-done
	if got["out"] != "all of: words" {
		t.Errorf("%q", got["out"])
	}
}
