package inflate

import (
	"bytes"
	stdgzip "compress/gzip"
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

func BenchmarkReader(b *testing.B) {
	name := os.Getenv("INFLATE_BENCH")
	if name == "" {
		name = "/tmp/infl/base.tar.gz"
	}
	data, err := os.ReadFile(name)
	if err != nil {
		b.Skip(err)
	}
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
