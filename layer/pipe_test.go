package layer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// idle checks that writers gave everything back.
func idle(t *testing.T) {
	t.Helper()
	goleak.VerifyNone(t, goleak.IgnoreCurrent())
	if !groupMemory.TryAcquire(maxGroupMemory) {
		t.Fatal("memory of groups was not given back")
	}
	groupMemory.Release(maxGroupMemory)
}

// brokenCompression fails at its third group.
type brokenCompression struct{ counted }

func (c *brokenCompression) Append(dst, raw []byte) ([]byte, error) {
	if c.n.Add(1) == 3 {
		return nil, errors.New("compressor broke")
	}
	return Gzip.Append(dst, raw)
}

type brokenFile struct{}

func (brokenFile) Write([]byte) (int, error)          { return 0, errors.New("disk is full") }
func (brokenFile) ReadAt([]byte, int64) (int, error)  { return 0, errors.New("disk is gone") }
func (brokenFile) WriteAt([]byte, int64) (int, error) { return 0, errors.New("disk is full") }

// slow is a compression that makes groups queue up.
type slow struct{ Compression }

func (s slow) Append(dst, raw []byte) ([]byte, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Compression.Append(dst, raw)
}

func TestWriterFailures(t *testing.T) {
	gate := make(chan struct{})
	items := []item{reg("huge", noise(1, 60<<20))}
	tests := []struct {
		name string
		dst  io.Writer
		o    WriterOptions
		want string
	}{
		{"compressor", io.Discard, WriterOptions{Compression: &brokenCompression{counted{Compression: Gzip}}}, "compressor broke"},
		{"blob", brokenFile{}, WriterOptions{}, "write blob: disk is full"},
		{"spool", io.Discard, WriterOptions{Spool: brokenFile{}, Compression: gated{Uncompressed, gate}}, "spool: disk is full"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer idle(t)
			w := NewWriter(context.Background(), tt.dst, tt.o)
			if tt.name == "spool" {
				// Nothing gets through until the spool has been tried.
				go func() { <-w.pipe.done; close(gate) }()
			}
			err := w.Add(items[0].Entry, strings.NewReader(items[0].content))
			if err == nil {
				_, _ = w.Finish()
			}
			_, _, waited := w.Wait()
			for _, err := range []error{err, waited} {
				if err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got error %v, want %q", err, tt.want)
				}
			}
			if waited == nil {
				t.Error("Wait saw no error")
			}
		})
	}
}

func TestWriterCancel(t *testing.T) {
	content := noise(1, 30<<20)
	spool, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	for _, o := range []WriterOptions{{}, {Spool: spool}} {
		for _, after := range []time.Duration{0, time.Millisecond, 30 * time.Millisecond} {
			ctx, cancel := context.WithTimeout(context.Background(), after)
			o.Compression = slow{Gzip}
			w := NewWriter(ctx, io.Discard, o)
			err := w.Add(reg("huge", content).Entry, strings.NewReader(content))
			if err == nil {
				_, _ = w.Finish()
			}
			if _, _, err := w.Wait(); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %v: Wait: %v", after, err)
			}
			cancel()
			idle(t)
		}
	}
	// Nobody ends this one; the cancelled context must do.
	ctx, cancel := context.WithCancel(context.Background())
	w := NewWriter(ctx, io.Discard, WriterOptions{})
	if err := w.Add(reg("a", "b").Entry, strings.NewReader("b")); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-w.pipe.gone
	idle(t)
}

func TestWriterAbort(t *testing.T) {
	w := NewWriter(context.Background(), io.Discard, WriterOptions{})
	w.Abort()
	w.Abort()
	if err := w.Add(reg("a", noise(1, 2<<20)).Entry, strings.NewReader(noise(1, 2<<20))); err == nil {
		_, err = w.Finish()
		if err == nil {
			t.Error("an aborted layer was finished")
		}
	}
	idle(t)
}

// TestWritersShare runs more writers than the memory has room for.
func TestWritersShare(t *testing.T) {
	defer idle(t)
	content := noise(5, 12<<20)
	want := write(t, WriterOptions{}, reg("huge", content))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var o WriterOptions
			if i%2 == 0 {
				spool, err := os.CreateTemp(t.TempDir(), "")
				if err != nil {
					t.Error(err)
					return
				}
				defer spool.Close()
				o.Spool = spool
			}
			m, err := tryWrite(context.Background(), o, reg("huge", content))
			if err != nil || m.desc.Digest != want.desc.Digest {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// TestWriterRunsAhead checks that Finish does not wait for the compressors.
func TestWriterRunsAhead(t *testing.T) {
	defer idle(t)
	spool, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer spool.Close()
	gate := make(chan struct{})
	var blob bytes.Buffer
	w := NewWriter(context.Background(), &blob, WriterOptions{Spool: spool, Compression: gated{Uncompressed, gate}})
	content := noise(1, 50<<20)
	if err := w.Add(reg("huge", content).Entry, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	diffID, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	close(gate)
	desc, _, err := w.Wait()
	if err != nil || desc.Digest != diffID { // uncompressed, they are the same bytes
		t.Errorf("descriptor %v of tar %s: %v", desc, diffID, err)
	}
}

type gated struct {
	Compression
	gate chan struct{}
}

func (g gated) Append(dst, raw []byte) ([]byte, error) {
	<-g.gate
	return g.Compression.Append(dst, raw)
}

// TestWriterMemory writes a layer much larger than what it may take.
func TestWriterMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MB")
	}
	runtime.GC()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	var most uint64
	content := noise(1, 1<<20)
	w := NewWriter(context.Background(), io.Discard, WriterOptions{Compression: Uncompressed})
	defer w.Abort()
	for i := range 200 {
		e := reg("file"+string(rune('a'+i%26))+strings.Repeat("x", i/26), content)
		if err := w.Add(e.Entry, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&now)
		most = max(most, now.HeapInuse)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Wait(); err != nil {
		t.Fatal(err)
	}
	used := int64(most) - int64(before.HeapInuse)
	t.Logf("heap grew by %d MiB", used>>20)
	if used > 60<<20 {
		t.Errorf("heap grew by %d MiB", used>>20)
	}
}

func TestGzipMember(t *testing.T) {
	b, err := Gzip.Append([]byte("before"), []byte("raw"))
	if err != nil {
		t.Fatal(err)
	}
	// RFC 1952: magic, deflate, no flags, no mtime, no extra flags, unknown system.
	if got, want := b[:16], []byte("before\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"); !bytes.Equal(got, want) {
		t.Errorf("member starts with %q, want %q", got, want)
	}
}

// TestEncoderVersion ties the names of compressions to the bytes they make.
func TestEncoderVersion(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`klauspost/compress v(\S+)`).FindSubmatch(mod)
	if m == nil || encoderVersion != "klauspost-"+string(m[1]) {
		t.Errorf("encoderVersion is %q, go.mod says %q", encoderVersion, m)
	}
}

func TestNewReader(t *testing.T) {
	blobs := map[string][]byte{}
	for name, c := range map[string]Compression{"gzip": Gzip, "zstd": Zstd, "none": Uncompressed} {
		b, err := c.Append(nil, []byte("hello "))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = c.Append(b, []byte("world")); err != nil { // many members
			t.Fatal(err)
		}
		blobs[name] = b
	}
	for mediaType, algorithm := range mediaTypes {
		for name, blob := range blobs {
			r, err := NewReader(bytes.NewReader(blob), mediaType)
			if name != algorithm {
				if err == nil || !strings.Contains(err.Error(), mediaType) {
					t.Errorf("%s blob as %s: error %v", name, mediaType, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", mediaType, err)
				continue
			}
			if got, err := io.ReadAll(r); string(got) != "hello world" || err != nil {
				t.Errorf("%s: got %q, %v", mediaType, got, err)
			}
			r.Close()
		}
	}
	if _, err := NewReader(strings.NewReader(""), "text/html"); err == nil || !strings.Contains(err.Error(), `"text/html"`) {
		t.Errorf("unknown media type: %v", err)
	}
}
