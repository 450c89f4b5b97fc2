package layer_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/layer"
)

func BenchmarkZZScan(b *testing.B) {
	best := time.Hour
	var u, v syscall.Rusage
	for b.Loop() {
		f, err := os.Open("/tmp/infl/base.tar.gz")
		if err != nil {
			b.Skip(err)
		}
		syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		r, err := layer.NewReader(f, "application/vnd.oci.image.layer.v1.tar+gzip")
		if err != nil {
			b.Fatal(err)
		}
		t, d, err := layer.Scan(context.Background(), r, layer.ScanOptions{})
		if err != nil {
			b.Fatal(err)
		}
		syscall.Getrusage(syscall.RUSAGE_SELF, &v)
		b.Log(d, t.Len(), t.RawSize)
		f.Close()
		cpu := time.Duration(v.Utime.Nano() - u.Utime.Nano() + v.Stime.Nano() - u.Stime.Nano())
		best = min(best, cpu)
		b.ReportMetric(best.Seconds(), "cpu-s")
	}
}
