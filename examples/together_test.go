//go:build unix

package examples

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// Two processes that build the same on one store both succeed, and do the work once.
func TestTwoAtOnce(t *testing.T) {
	p := newPlace(t).withBusybox()
	dir := files(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY file /\n" +
			"RUN --mount=type=cache,target=/cache echo ran >> /cache/log; sleep 1; cp /cache/log /log\n",
		"file": noise(1 << 20),
	})
	var logs [2]bytes.Buffer
	var builds [2]*exec.Cmd
	for i := range builds {
		builds[i] = p.command("build", "--progress", "plain", "-t", fmt.Sprintf("both:%d", i), dir)
		builds[i].Stderr = &logs[i]
		if err := builds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range builds {
		if err := builds[i].Wait(); err != nil {
			t.Errorf("process %d: %v\n%s", i, err, &logs[i])
		}
	}
	if t.Failed() {
		return
	}
	for i := range builds {
		if got, _ := p.run("run", fmt.Sprintf("both:%d", i), "cat", "/log"); got != "ran\n" {
			t.Errorf("process %d: the command ran %d times", i, strings.Count(got, "ran"))
		}
	}
	if a, b := p.inspect("both:0").Digest, p.inspect("both:1").Digest; a != b {
		t.Errorf("two images of one build: %s and %s", a, b)
	}
	nothingLeft(t, p.store, p.binary)
}

// Ctrl-C at any moment leaves no process, mount, temporary folder or image, and nothing that the next build would
// trip over: it makes what an undisturbed build makes.
func TestInterrupt(t *testing.T) {
	dir := files(t, map[string]string{
		"Dockerfile": "FROM busybox AS one\nCOPY first /\nRUN cp /first /made && sleep 0.2\n" +
			"FROM busybox\nCOPY second /\nRUN --mount=type=cache,target=/cache cat /second >> /cache/all && sleep 0.2 && date > /when\n" +
			"COPY --from=one /made /from\nCOPY first /last\n",
		"first": noise(3 << 20), "second": strings.Repeat("compresses well\n", 1<<18),
	})
	var want string
	whole := time.Hour
	for range 2 { // the first one reads this test's files for the first time
		p := newPlace(t).withBusybox()
		began := time.Now()
		p.run("build", "-t", "image", dir)
		whole = min(whole, time.Since(began))
		want = outcome(p)
	}

	const times = 20
	random := rand.New(rand.NewPCG(20, 26))
	done := 0
	for i := range times {
		p := newPlace(t).withBusybox()
		after := time.Duration(random.Float64() * float64(whole))
		if !interrupted(p, after, "build", "-t", "image", dir) {
			done++
		} else if images, _ := p.run("images"); strings.Contains(images, "image") {
			t.Errorf("after %v: there is an image:\n%s", after, images)
		}
		nothingLeft(t, p.store, p.binary)
		p.run("build", "-t", "image", dir)
		if got := outcome(p); got != want {
			t.Errorf("interruption %d after %v: the next build makes\n%s\nwant\n%s", i, after, got, want)
		}
		nothingLeft(t, p.store, p.binary)
		if err := os.RemoveAll(p.store); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("a build takes %v; %d of %d were done before the signal came", whole, done, times)
	if done == times {
		t.Error("none was interrupted")
	}
}

// interrupted sends SIGINT so long after the start; false means that the command had succeeded before.
func interrupted(p *place, after time.Duration, args ...string) bool {
	p.t.Helper()
	var log bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Signal(os.Interrupt)
	began := time.Now()
	err := cmd.Wait()
	if took := time.Since(began); took > 10*time.Second {
		p.t.Errorf("SIGINT after %v ends it only %v later", after, took)
	}
	// In its first millisecond a program has no handler yet; a shell reports 130 then, too.
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if err != nil && cmd.ProcessState.ExitCode() != 130 && status.Signal() != syscall.SIGINT {
		p.t.Errorf("SIGINT after %v: %v, want exit code 130\n%s", after, err, &log)
	}
	return err != nil
}

// outcome is what does not depend on when a build ran: the layers of its COPYs and the content of its files.
func outcome(p *place) string {
	p.t.Helper()
	var copies []digest.Digest
	layers := p.inspect("image").Layers // busybox, COPY, RUN, COPY, COPY
	for _, i := range []int{0, 1, 4} {
		if i < len(layers) {
			copies = append(copies, layers[i].DiffID)
		}
	}
	sums, _ := p.run("run", "image", "sh", "-c", "test -s /when && sha256sum /second /from /last && ls /")
	return fmt.Sprintf("%d layers, of COPY %s\n%s", len(layers), copies, sums)
}
