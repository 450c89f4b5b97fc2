package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// Sparse files in each form that tar programs write, one after the other and
// before a plain file, are read as the files that were packed.
func TestB10SparseFilesAreRead(t *testing.T) {
	program, err := exec.LookPath("tar")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{"a": bytes.Repeat([]byte("x"), 700), "p": []byte("plain"), "z": []byte("last")}
	files["holes"] = append(make([]byte, 1<<20), append([]byte("middle"), append(make([]byte, 2<<20), "end"...)...)...)
	files["only"] = make([]byte, 3<<20)
	for name, data := range files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(data); i += 4096 {
			if part := data[i:min(i+4096, len(data))]; len(bytes.Trim(part, "\x00")) > 0 {
				_, err = f.WriteAt(part, int64(i))
			}
		}
		if err == nil {
			err = f.Truncate(int64(len(data)))
		}
		if err != nil || f.Close() != nil {
			t.Fatal(err)
		}
	}
	names := []string{"a", "holes", "only", "p", "z"}
	for _, form := range []string{"gnu", "pax --sparse-version=0.0", "pax --sparse-version=0.1", "pax --sparse-version=1.0"} {
		t.Run(form, func(t *testing.T) {
			args := append(strings.Fields("--sparse --format="+form+" -cf - -C "+dir), names...)
			data, err := exec.Command(program, args...).Output()
			if err != nil {
				t.Skip("tar cannot: ", err)
			}
			if len(data) > 1<<20 {
				t.Fatalf("the tar has %d bytes, so it is not sparse", len(data))
			}
			toc, _, err := Scan(t.Context(), bytes.NewReader(data), ScanOptions{Digests: true})
			if err != nil {
				t.Fatal(err)
			}
			if toc, err = DecodeTOC(toc.Encode()); err != nil {
				t.Fatal(err)
			}
			for name, want := range files {
				e, _ := toc.Lookup(name)
				r, err := Content(bytes.NewReader(data), e)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got, err := io.ReadAll(io.LimitReader(r, e.Size))
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s has %d bytes, not those %d (%v)", name, len(got), len(want), err)
				}
			}
			if _, _, err := Scan(t.Context(), bytes.NewReader(data), ScanOptions{Limits: Limits{MaxBytes: 4 << 20}}); err == nil || !strings.Contains(err.Error(), "sparse") {
				t.Errorf("holes are not counted: %v", err)
			}
		})
	}
}

// A compressed tar that is cut ends with ErrUnexpectedEOF, time and again.
func TestB10ACutTarEnds(t *testing.T) {
	whole := archive(t, &tar.Header{Name: "f", Size: 700})
	for at := range whole {
		r := io.MultiReader(bytes.NewReader(whole[:at]), iotest.ErrReader(io.ErrUnexpectedEOF))
		for tr := NewTarReader(t.Context(), r, Limits{}); ; {
			if _, err := tr.Next(); err != nil {
				break
			}
		}
	}
}
