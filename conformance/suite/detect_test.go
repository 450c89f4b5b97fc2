package suite

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/moby/go-archive/compression"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/internal/plan"
	"github.com/ocibuild/ocibuild/layer"
)

// FuzzDetect asks BuildKit's way of telling an archive, and ours, about the
// same bytes. Those that it begins with are the files of the cases.
func FuzzDetect(f *testing.F) {
	f.Setenv("MOBY_DISABLE_PIGZ", "true")
	for _, data := range contextFiles(f) {
		f.Add(data)
	}
	for _, data := range packings(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			return
		}
		xz := bytes.HasPrefix(data, []byte("\xfd7zXZ\x00"))
		if xz && exec.Command("xz", "--version").Run() != nil {
			t.Skip("SKIPPED: needs the program xz, which BuildKit runs")
		}
		want := archiveForBuildKit(t, data)
		got, err := archiveForUs(t, data)
		switch {
		case err != nil && !got && strings.Contains(err.Error(), "cannot be unpacked; "): // nobody is misled
		case got != want && xz && !wholeXZ(data): // of a damaged file the two read different lengths
		case got != want:
			t.Errorf("BuildKit: archive %t, ours: %t, %v", want, got, err)
		}
	})
}

// archiveForBuildKit does what solver/llbsolver/file/unpack.go does.
func archiveForBuildKit(t *testing.T, data []byte) bool {
	t.Helper()
	r, err := compression.DecompressStream(bytes.NewReader(data))
	if err != nil {
		return false
	}
	defer r.Close()
	_, err = tar.NewReader(r).Next()
	return err == nil
}

// archiveForUs tells whether ADD puts anything but the file itself at its destination.
func archiveForUs(t *testing.T, data []byte) (bool, error) {
	t.Helper()
	src := plan.New(nil, plan.Options{})
	if err := src.Mkfile(t.Context(), &graph.Mkfile{Path: "/a", Mode: 0o644, Data: data, Timestamp: -1}, nil); err != nil {
		t.Fatal(err)
	}
	to := plan.New(nil, plan.Options{Limits: layer.Limits{MaxBytes: 4 << 20, MaxEntries: 1000}})
	err := to.Copy(t.Context(), src, &graph.Copy{
		Src: "a", Dest: "/out/x", Mode: -1, Timestamp: -1, FollowSymlink: true, CreateDestPath: true, Unpack: true,
	}, nil)
	e, missing := to.Lookup(t.Context(), "out/x")
	if missing != nil && !errors.Is(missing, fs.ErrNotExist) {
		t.Fatal(missing)
	}
	return missing == nil && e.Type == layer.Directory, err
}

func wholeXZ(data []byte) bool {
	cmd := exec.Command("xz", "--test", "--format=xz")
	cmd.Stdin = bytes.NewReader(data)
	return cmd.Run() == nil
}

// packings are ways to pack an archive that no case has.
func packings(f *testing.F) [][]byte {
	f.Helper()
	var raw bytes.Buffer
	if err := writeListing(&raw, "file 0644 0:0 \x1f\x8bname text\nsymlink 0777 0:0 l /etc\n"); err != nil {
		f.Fatal(err)
	}
	out := [][]byte{raw.Bytes(), raw.Bytes()[:512], make([]byte, 512), make([]byte, 1024)}
	for _, ext := range []string{".gz", ".zst", ".xz"} {
		data, err := compress(ext, raw.Bytes())
		if err != nil {
			f.Fatal(err)
		}
		const skipped = "\x5f\x2a\x4d\x18\x04\x00\x00\x00skip" // a frame of RFC 8878, 3.1.2
		out = append(out, data, append([]byte(skipped), data...), append(bytes.Clone(data), data...), data[:len(data)/2])
	}
	for _, program := range []string{"bzip2", "xz --x86 --lzma2=preset=0", "xz --lzma2=preset=0,dict=1GiB", "zstd --ultra --long=28"} {
		args := strings.Fields(program)
		if _, err := exec.LookPath(args[0]); err != nil {
			f.Logf("%s is not here: there is no seed of it", args[0])
			continue
		}
		cmd := exec.Command(args[0], append(args[1:], "--stdout")...)
		cmd.Stdin = bytes.NewReader(raw.Bytes())
		data, err := cmd.Output()
		if err != nil {
			f.Fatal(fmt.Errorf("%s: %w", program, err))
		}
		out = append(out, data)
	}
	return out
}

// contextFiles are the files of the cases that are about ADD.
func contextFiles(f *testing.F) [][]byte {
	f.Helper()
	all, err := Cases("../cases", regexp.MustCompile("^add/"))
	if err != nil {
		f.Fatal(err)
	}
	var out [][]byte
	for _, c := range all {
		dir := f.TempDir()
		err := c.Write(dir, "http://localhost")
		if errors.Is(err, fs.ErrPermission) {
			f.Logf("SKIPPED: %s: only root can write it", c.Name)
			continue
		}
		if err != nil {
			f.Fatal(fmt.Errorf("%s: %w", c.Name, err))
		}
		err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(p)
			if len(data) < 64<<10 {
				out = append(out, data)
			}
			return err
		})
		if err != nil {
			f.Fatal(err)
		}
	}
	return out
}
