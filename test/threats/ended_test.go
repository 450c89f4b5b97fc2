//go:build linux

package threats

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ocibuild/ocibuild/internal/worker"
)

// TestA12NothingInTemporaryFolders: what others could plant in a folder that all
// may write to is never looked at, since nothing is made there.
func TestA12NothingInTemporaryFolders(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	shared := filepath.Join(p.dir, "out", "shared")
	must(t, os.MkdirAll(shared, 0o755))
	must(t, os.Chmod(shared, 0o777|os.ModeSticky))
	before, err := os.Stat(shared)
	must(t, err)
	p.archive("a.tar.gz", gzipped(t, tarOf(t, file("f", "f"))))
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nADD a.tar.gz /x/\nRUN --mount=type=cache,target=/c --mount=type=secret,id=s,env=S test -n \"$S\" && cp /x/f /g\n")
	p.write(".dockerignore", "value")
	p.write("value", "v")
	cmd := p.command("build", "-q", "--secret", "id=s,src=value", ".")
	cmd.Env = append(cmd.Env, "TMPDIR="+shared)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if after, err := os.Stat(shared); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("something was made there: %v, %v", after.ModTime(), err)
	}
}

// TestK03BuildersOwnFolders: the store's path within an image is one as any other.
func TestK03BuildersOwnFolders(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("f", "f")
	base := p.hub.base()
	inside := strings.TrimPrefix(p.store, "/") + "/index.json"
	got := p.accepted("FROM " + base + "\nCOPY f " + p.store + "/index.json\nRUN --mount=type=bind,target=/ctx,rw rm -rf /ctx/* && rm -rf " + p.store + "/blobs /etc/group\n")
	got.holds(inside, "f")
	for _, rung := range []string{"", worker.IsolationChroot} {
		if rung != "" && os.Getuid() != 0 {
			continue // chroot takes root
		}
		p.change = on(rung)
		if _, err := p.try("FROM " + base + "\nRUN --mount=type=bind,target=/ctx,rw rm -rf /*; rm -rf /bin /ctx; true # " + rung + "\n"); err != nil {
			p.oneLine(err.Error())
		}
		got := p.accepted("FROM " + base + "\nCOPY f /f\nRUN cp /f /g # " + rung + "\n")
		got.holds("g", "f")
	}
}

// TestF02WorkersThatDie: whoever dies, the build fails in one line.
func TestF02WorkersThatDie(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	base := p.hub.base()
	for _, victim := range []string{"ocibuild-worker", "sleep"} {
		p.write("Dockerfile", "FROM "+base+"\nRUN echo run''ning "+victim+"; exec sleep 60\n")
		cmd := p.command("build", "--progress", "plain", ".")
		said := p.until(cmd, "running "+victim)
		for _, pid := range below(t, cmd.Process.Pid) {
			if line, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && bytes.HasPrefix(line, []byte(victim)) {
				n, err := strconv.Atoi(pid)
				must(t, err)
				must(t, syscall.Kill(n, syscall.SIGKILL))
			}
		}
		_ = cmd.Wait() // its code is what counts
		p.gone()
		p.fails(outcome{code: cmd.ProcessState.ExitCode(), stderr: said()}, 1, "Dockerfile:2")
	}
}

func TestF03Signals(t *testing.T) {
	p := newPlace(t)
	needsRun(t)
	p.write("Dockerfile", "FROM "+p.hub.base()+"\nRUN trap '' INT TERM HUP; echo run''ning; sleep 60 & wait; sleep 60\n")
	for _, signals := range [][]os.Signal{{os.Interrupt}, {os.Interrupt, os.Interrupt}, {syscall.SIGTERM}, {syscall.SIGHUP}} {
		if signal.Ignored(signals[0]) { // under nohup, and in the background of a script: then the program ignores it, too
			continue
		}
		code, said := p.killedAt(p.command("build", "--progress", "plain", "."), "running", signals...)
		if code != 130 || strings.Contains(said, "goroutine ") {
			t.Errorf("after %v it ends with %d: %s", signals, code, said)
		}
		if len(signals) > 1 { // who is in such a hurry leaves it to the next one to tidy up
			p.accepted("FROM scratch\nLABEL a=b\n")
		}
		p.untouched()
	}
}

// TestF06OneOfTwoThatPullIsKilled: the other one gets the layer nevertheless.
func TestF06OneOfTwoThatPullIsKilled(t *testing.T) {
	p := newPlace(t)
	data := tarOf(t, file("f", strings.Repeat("f", 1<<20)))
	p.hub.image("slow", nil, data)
	p.write("Dockerfile", p.fake("FROM scratch\nCOPY --from=$HUB/slow /f /g\n"))
	slow := newStall("/blobs/sha256", data[:600<<10])
	p.hub.answers(slow.answer)
	first, second := p.command("build", "-q", "."), p.command("build", "-q", ".")
	must(t, first.Start())
	<-slow.reached
	var said bytes.Buffer
	second.Stderr = &said
	must(t, second.Start())
	must(t, first.Process.Kill())
	_ = first.Wait() // it was killed
	close(slow.over)
	if err := second.Wait(); err != nil {
		t.Errorf("%v: %s", err, &said)
	}
}
