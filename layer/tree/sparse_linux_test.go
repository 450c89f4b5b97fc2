package tree

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A file with holes reads as any other one, whatever the pieces that it is read in.
func TestB13HolesAreZeros(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const mib = 1 << 20
	want := make([]byte, 9*mib+77)
	for _, at := range []int{2 * mib, 5*mib + 3, len(want) - 3*mib} {
		n := copy(want[at:], bytes.Repeat([]byte("data"), 50_000))
		if _, err := f.WriteAt(want[at:at+n], int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(int64(len(want))); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if st.Blocks*512 >= st.Size {
		t.Skip("SKIPPED: this file system makes no holes")
	}
	for _, piece := range []int{1000, 32 << 10, 3 * mib} {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{Content(f, &st)}, make([]byte, piece)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("in pieces of %d: %d bytes, and not those of the file", piece, got.Len())
		}
	}
}
