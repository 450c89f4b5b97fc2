package worker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIDRanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	text := "# comment\nann:100000:65536\nbob:1:1\n1000:200000:10\nann:x:1\nann:5\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := idRanges(file, []string{"1000", "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]idRange{{100000, 65536}, {200000, 10}}, got, cmp.AllowUnexported(idRange{})); diff != "" {
		t.Error(diff)
	}
	if got, err := idRanges(filepath.Join(t.TempDir(), "none"), nil); err != nil || got != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
}
