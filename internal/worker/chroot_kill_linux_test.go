package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// killedVar makes the test binary the program that is killed: it holds a store and
// the requests of steps, which it does over and over.
const killedVar = "WORKER_TEST_KILLED"

type victim struct {
	Store string
	Steps []*Request
}

// The init of another test file's TestMain must not be in the way, so this is one
// of our own; the variable says that this is not the test.
func init() {
	if text := os.Getenv(killedVar); text != "" && len(os.Args) == 1 && os.Args[0] == killedVar {
		var v victim
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			panic(err)
		}
		v.live()
	}
}

// live does the steps, each on top of the one before, and begins anew.
func (v *victim) live() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	for {
		c, err := Start(context.Background(), Options{Store: v.Store, Isolation: IsolationChroot})
		if err != nil {
			panic(err)
		}
		if _, err := stack(c, v.Steps, null); err != nil {
			panic(err)
		}
		if err := c.Close(); err != nil {
			panic(err)
		}
	}
}

// stack does steps on top of each other and returns their layers.
func stack(c *Client, steps []*Request, out *os.File) ([]digest.Digest, error) {
	dir, err := cache.OpenDir(c.options.Store)
	if err != nil {
		return nil, err
	}
	var made []snapshot.Layer
	var ids []digest.Digest
	for _, s := range steps {
		r := *s
		r.Layers = append(append([]snapshot.Layer{}, s.Layers...), made...)
		x, err := c.Exec(context.Background(), &r, sandbox.Stdio{Stdout: out, Stderr: out})
		if err != nil {
			return nil, err
		}
		commit, err := x.Commit(context.Background(), cache.Layer{})
		if err != nil {
			return nil, err
		}
		l, err := commit.Wait(context.Background())
		if err != nil {
			return nil, err
		}
		ids = append(ids, l.DiffID)
		made = append(made, snapshot.Layer{DiffID: l.DiffID, Blob: dir.BlobPath(l.Digest), MediaType: l.MediaType})
	}
	return ids, nil
}

const secretText = "a secret that stays nowhere"

// Whenever the builder is killed: the next one finds caches as they were, makes the
// same layers, and nothing of what the step was given is left.
func TestChrootKilledAtAnyMoment(t *testing.T) {
	h := newChrootHouse(t)
	mounts := []Mount{
		{Type: MountCache, Target: "/cache", CacheID: "c"},
		{Type: MountSecret, Target: "/run/secrets/s", Data: []byte(secretText)},
		{Type: MountTmpfs, Target: "/scratch"},
		{Type: MountBind, Target: "/etc", Layers: []snapshot.Layer{h.base}, Selector: "/etc"},
	}
	const files = "cat /run/secrets/s >/scratch/s; echo x >>/cache/log; i=0; while test $i -lt 40; do i=$((i+1)); echo $i >/dir$0/$i; echo $i >/cache/$i; done; busybox find / -exec busybox touch -hd @1 {} + 2>&-; true"
	var steps []*Request
	for _, name := range []string{"a", "b"} {
		s := with(h.shell("mkdir /dir"+name+"; "+strings.ReplaceAll(files, "$0", name)), mounts...)
		steps = append(steps, s)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	want, err := stack(h.client, steps, null)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(victim{h.dir.Path(), steps})
	if err != nil {
		t.Fatal(err)
	}
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	lines := 0
	for round := range rounds {
		if err := h.client.Close(); err != nil {
			t.Fatal(err)
		}
		killSoon(t, string(text))
		if h.client, err = Start(context.Background(), Options{Store: h.dir.Path(), Isolation: IsolationChroot}); err != nil {
			t.Fatal(err)
		}
		e, out := h.must(with(h.shell("busybox wc -l </cache/log"), mounts[0]))
		if err := e.Discard(); err != nil {
			t.Fatal(err)
		}
		now, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil || now < lines {
			t.Fatalf("round %d: the cache has %q, and had %d lines", round, out, lines)
		}
		lines = now
		got, err := stack(h.client, steps, null)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("round %d: step %d makes another layer", round, i)
			}
		}
		h.findsNo(secretText)
	}
	if lines < 2*rounds {
		t.Errorf("%d lines after %d rounds: some are lost", lines, rounds)
	}
}

// killSoon starts the victim, and kills it after a random time. Processes of its
// step may be about to die yet.
func killSoon(t *testing.T, text string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{killedVar}
	cmd.Env = append(raceOptions(), killedVar+"="+text, "PATH="+os.Getenv("PATH"))
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Duration(100+rand.IntN(900)) * time.Millisecond)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if strings.Contains(said.String(), "panic") {
		t.Fatalf("it failed by itself: %s", said.String())
	}
}

// findsNo wants no file of the store to have a text.
func (h *house) findsNo(text string) {
	h.t.Helper()
	err := filepath.WalkDir(h.dir.Path(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			h.t.Errorf("%s has the secret", path)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}
