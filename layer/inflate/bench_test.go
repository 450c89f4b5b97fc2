//go:build unix

package inflate

import (
	"archive/tar"
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
)

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano())
}

// blob is the layer named by INFLATE_BENCH or, without one, a tar of what this
// machine has of Python, or of documentation.
func blob(b *testing.B) []byte {
	if name := os.Getenv("INFLATE_BENCH"); name != "" {
		data, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		return data
	}
	for _, dir := range []string{"/usr/lib/python3", "/usr/share/doc"} {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		var packed bytes.Buffer
		z, err := stdgzip.NewWriterLevel(&packed, 6)
		if err != nil {
			b.Fatal(err)
		}
		w := tar.NewWriter(z)
		if err := errors.Join(w.AddFS(os.DirFS(dir)), w.Close(), z.Close()); err != nil {
			b.Skip(err)
		}
		return packed.Bytes()
	}
	b.Skip("nothing to make a layer of")
	return nil
}

// BenchmarkReader tells megabytes of output for each second of processor time,
// which says more than the clock on a machine that has other things to do.
func BenchmarkReader(b *testing.B) {
	data := blob(b)
	readers := []struct {
		name string
		open func(io.Reader) (io.Reader, error)
	}{
		{"ours", func(r io.Reader) (io.Reader, error) { return NewReader(r) }},
		{"klauspost", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"std", func(r io.Reader) (io.Reader, error) { return stdgzip.NewReader(r) }},
	}
	for _, r := range readers {
		b.Run(r.name, func(b *testing.B) {
			best := time.Hour
			for b.Loop() {
				start := cpu()
				z, err := r.open(bytes.NewReader(data))
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(struct{ io.Writer }{io.Discard}, z)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(n)
				if t := cpu() - start; t < best {
					best = t
					b.ReportMetric(float64(n)/1e6/t.Seconds(), "MB/cpu-s")
				}
			}
		})
	}
}
