package local

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func grow(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("more"); err != nil {
		t.Fatal(err)
	}
}

// A log that is written to while it is copied: its entry, its digest and its
// bytes are those of one moment.
func TestE6AFileThatGrowsIsItsBeginning(t *testing.T) {
	text := strings.Repeat("a line\n", 1000)
	dir := plant(t, map[string]string{"log": text})
	file := filepath.Join(dir, "log")
	l := open(t, dir, nil, nil)
	e, err := l.Lookup(t.Context(), "log")
	if err != nil {
		t.Fatal(err)
	}
	grow(t, file)
	d, err := l.Digest(t.Context(), e)
	if err != nil || d != digest.FromString(text) {
		t.Fatalf("digest %s, %v", d, err)
	}
	grow(t, file)
	r, err := l.Open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make([]byte, 100)
	if _, err := io.ReadFull(r, got); err != nil {
		t.Fatal(err)
	}
	grow(t, file)
	rest, err := io.ReadAll(r)
	if err != nil || string(got)+string(rest) != text {
		t.Errorf("%d bytes, %v", len(got)+len(rest), err)
	}
	if err := r.(interface{ Learn(digest.Digest) error }).Learn(d); err != nil {
		t.Error(err)
	}
}

func TestE6AFileThatIsWrittenAnewIsNoticed(t *testing.T) {
	for _, hashed := range []bool{false, true} {
		dir := plant(t, map[string]string{"f": strings.Repeat("a", 200)})
		l := open(t, dir, nil, nil)
		e, err := l.Lookup(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		if hashed {
			if _, err := l.Digest(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		r, err := l.Open(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got := make([]byte, 200)
		if _, err := io.ReadFull(r, got[:10]); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(strings.Repeat("b", 300)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, got[10:]); err != nil && !hashed {
			t.Fatal(err)
		}
		err = r.(interface{ Learn(digest.Digest) error }).Learn(digest.FromBytes(got))
		if err == nil || !strings.Contains(err.Error(), "f in the build context changed") {
			t.Errorf("hashed %v: %v", hashed, err)
		}
	}
}
