//go:build linux

package threats

import (
	"crypto/ed25519"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// stall is an answer that stops in the middle, once.
type stall struct {
	path          string // of which requests
	data          []byte // what comes of it
	reached, over chan struct{}
	done          atomic.Bool
}

func newStall(path string, data []byte) *stall {
	return &stall{path: path, data: data, reached: make(chan struct{}), over: make(chan struct{})}
}

// answer is a hook of servers.
func (s *stall) answer(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodHead || !strings.Contains(r.URL.Path, s.path) || s.done.Swap(true) {
		return false
	}
	_, _ = w.Write(s.data) // whoever asks is about to be killed
	_ = http.NewResponseController(w).Flush()
	close(s.reached)
	<-s.over
	return true
}

// killedIn starts a build and kills it once it waits for an answer. Nothing of it
// may run on, and the next build, which is to succeed, leaves nothing of it.
func (p *place) killedIn(s *stall) {
	p.t.Helper()
	args := []string{"build", "-q", "."}
	cmd := p.command(args...)
	must(p.t, cmd.Start())
	select {
	case <-s.reached:
	case <-time.After(time.Minute):
		p.t.Error("the build did not come so far")
	}
	time.Sleep(20 * time.Millisecond) // for what has arrived to be written
	must(p.t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	// What git has started to speak HTTP waits for its answer, for two minutes at most.
	p.gone("git\x00remote-http", "git-remote-http")
	close(s.over)
	p.gone()
	if o := p.call(args...); o.code != 0 {
		p.t.Errorf("the next build: %s", o.stderr)
	}
	p.untouched()
}

// gone wants every process to end that knows of the place, but for some.
func (p *place) gone(but ...string) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		left := slices.DeleteFunc(p.processes(), func(line string) bool {
			return slices.ContainsFunc(but, func(s string) bool { return strings.Contains(line, s) })
		})
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("these run on: %q", left)
		}
	}
}

// processes are those with the place in their command line, their environment or
// among their files, by command line.
func (p *place) processes() []string {
	p.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	must(p.t, err)
	var found []string
	for _, process := range all {
		line, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if err != nil || len(line) == 0 || filepath.Base(process) == own {
			continue // it has just ended, or is the kernel's
		}
		env, _ := os.ReadFile(filepath.Join(process, "environ")) // or it is somebody else's, or has just ended
		known := strings.Contains(string(line)+string(env), p.dir)
		files, _ := filepath.Glob(filepath.Join(process, "fd", "*")) // likewise
		for _, file := range append(files, filepath.Join(process, "root")) {
			to, _ := os.Readlink(file) // likewise
			known = known || strings.Contains(to, p.dir)
		}
		if known {
			found = append(found, string(line))
		}
	}
	return found
}

var own = strconv.Itoa(os.Getpid())

// keyFile is a private key for an agent.
func (p *place) keyFile() string {
	p.t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	must(p.t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	must(p.t, err)
	path := filepath.Join(p.dir, "out", "key")
	must(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(p.t, os.WriteFile(path, pem.EncodeToMemory(block), 0o600))
	return path
}

func TestF01KilledWhileItFetches(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", strings.Repeat("f", 1<<20)))
	p.hub.image("slow", nil, data)
	p.write("Dockerfile", p.fake("FROM $HUB/slow\nCOPY --from=$HUB/slow /f /g\n"))
	slow := newStall("/blobs/sha256", data[:600<<10])
	p.hub.answers(slow.answer)
	p.part("a layer", func() { p.killedIn(slow) })
	other := newStall("/file", data[:600<<10])
	url := p.web(func(w http.ResponseWriter, r *http.Request) {
		if !other.answer(w, r) {
			_, _ = w.Write(data)
		}
	})
	p.write("Dockerfile", "FROM scratch\nADD "+url+"/file /\n")
	p.part("a file", func() { p.killedIn(other) })
	p.part("a repository", func() {
		slow := newStall("git-upload-pack", nil)
		g := newGitWith(p, slow.answer)
		g.commit("f", strings.Repeat("f", 1<<20))
		p.write("Dockerfile", "FROM scratch\nADD "+g.url+" /\n")
		p.killedIn(slow)
		// A git that was itself killed leaves locks, by which later ones were stopped.
		bare, err := filepath.Glob(filepath.Join(p.store, "git", "*", "HEAD"))
		must(p.t, err)
		commit := g.commit("f", "g")
		var left []string
		for _, name := range []string{"shallow.lock", "packed-refs.lock", "HEAD.lock", "refs/ocibuild/" + commit + ".lock", "objects/pack/tmp_pack_x"} {
			left = append(left, filepath.Join(filepath.Dir(bare[0]), name))
			must(p.t, os.WriteFile(left[len(left)-1], nil, 0o600))
		}
		p.accepted("FROM scratch\nADD "+g.url+" /\n").holds("f", "g")
		for _, name := range left {
			if _, err := os.Lstat(name); err == nil {
				p.t.Errorf("%s is left", name)
			}
		}
	})
}

func TestF01KilledWithAnAgent(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN --mount=type=ssh test -S $SSH_AUTH_SOCK && echo moun''ted; sleep 60\n")
	p.killedAt(p.command("build", "--progress", "plain", "--ssh", "default="+p.keyFile(), "."), "mounted", syscall.SIGKILL)
	p.gone()
	if left, err := filepath.Glob(filepath.Join(p.store, "tmp", "*agent*")); err != nil || len(left) == 0 {
		t.Errorf("the dead one has left no socket, so this shows nothing: %v", err)
	}
	p.works()
	p.untouched()
}
