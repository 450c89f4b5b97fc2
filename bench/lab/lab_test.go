package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// burn is a command that does nothing but use CPU time.
const burn = `i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done`

func openLab(t *testing.T) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: BuildKit's daemon mounts overlays and runs containers")
	}
	for _, tool := range []string{"docker-registry", "runc", "busybox"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	l, err := Open(t.Context(), Options{Ocibuild: os.Getenv("OCIBUILD")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// builder is what both peers can do.
type builder interface {
	Build(ctx context.Context, dir, image string, push bool) (Usage, error)
}

// TestContainersAreCounted holds what every figure stands on: the CPU time of
// a command inside a container is part of the build's.
func TestContainersAreCounted(t *testing.T) {
	l := openLab(t)
	base, err := l.PushBusybox(t.Context(), "busybox")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Measure(exec.CommandContext(t.Context(), "busybox", "sh", "-c", burn))
	if err != nil {
		t.Fatal(err)
	}
	daemon, err := l.StartBuildKit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Stop()
	store, err := l.NewStore(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, peer := range map[string]builder{"BuildKit": daemon, "ocibuild": store} {
		t.Run(name, func(t *testing.T) {
			idle := build(t, l, peer, "FROM "+base+"\nRUN true\n")
			busy := build(t, l, peer, "FROM "+base+"\nRUN "+burn+"\n")
			t.Logf("command %v, build without %v, build with %v", plain.CPU, idle.CPU, busy.CPU)
			if extra := busy.CPU - idle.CPU; extra < plain.CPU*3/5 || extra > plain.CPU*8/5 {
				t.Errorf("a command of %v CPU time made a build dearer by %v", plain.CPU, extra)
			}
		})
	}
}

func build(t *testing.T, l *Lab, peer builder, dockerfile string) Usage {
	t.Helper()
	dir, err := l.Context("burn", map[string]string{"Dockerfile": dockerfile})
	if err != nil {
		t.Fatal(err)
	}
	u, err := peer.Build(t.Context(), dir, l.Host()+"/burn", false)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestMemoryOfTheProcessIsSeen(t *testing.T) {
	u, err := Measure(exec.CommandContext(t.Context(), "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=20"))
	if err != nil {
		t.Fatal(err)
	}
	if mib := u.Memory >> 20; mib < 64 || mib > 80 {
		t.Errorf("dd with a buffer of 64 MiB shows a peak of %d MiB", mib)
	}
}

func TestMeterCountsBytes(t *testing.T) {
	l := openLab(t)
	u, err := l.metered(func() (Usage, error) {
		return Measure(exec.CommandContext(t.Context(), "go", "version"))
	})
	if err != nil || u.Received+u.Sent != 0 {
		t.Fatalf("a command without network: %+v, %v", u, err)
	}
	l.meter.reset()
	if !answers(t.Context(), "http://"+l.Host()+"/v2/") {
		t.Fatal("the registry does not answer through the meter")
	}
	if l.meter.received.Load() < 50 || l.meter.sent.Load() < 50 {
		t.Errorf("a request counted as %d bytes sent, %d received", l.meter.sent.Load(), l.meter.received.Load())
	}
}

func TestFilesAreReproducibleAndCompressAsTheRealOnes(t *testing.T) {
	files := Files{Count: 500, Bytes: 5_000_000, Seed: 7}
	dir := t.TempDir()
	begin := time.Now()
	if err := files.WriteTo(dir); err != nil {
		t.Fatal(err)
	}
	t.Logf("written in %v", time.Since(begin))
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	var size int64
	for _, f := range files.list() {
		r, err := os.Open(filepath.Join(dir, f.name))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := io.Copy(zip, r)
		r.Close()
		size += n
	}
	zip.Close()
	if size < files.Bytes*99/100 || size > files.Bytes {
		t.Errorf("%d bytes in place of %d", size, files.Bytes)
	}
	if ratio := float64(zipped.Len()) / float64(size); ratio < 0.30 || ratio > 0.34 {
		t.Errorf("compresses to %.3f; the measured trees do to 0.32", ratio)
	}
}
