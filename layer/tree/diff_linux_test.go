package tree

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// overlayOf mounts an overlay for a test and returns its root and upper.
func overlayOf(t *testing.T, lower string) (root, upper string) {
	t.Helper()
	base := t.TempDir()
	for _, d := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root, upper = filepath.Join(base, "root"), filepath.Join(base, "upper")
	if _, err := PrepareUpper(upper, []string{lower}, Trusted); err != nil {
		t.Fatal(err)
	}
	o := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work,metacopy=off,index=off", lower, upper, base)
	if err := unix.Mount("overlay", root, "overlay", 0, o); err != nil {
		t.Skipf("SKIPPED: overlay cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	return root, upper
}

// changes runs Diff and shows its entries as lines.
func changes(t *testing.T, upper string, lowers []string, prune bool) []string {
	t.Helper()
	var lines []string
	add := func(e layer.Entry, content io.Reader) error {
		line := fmt.Sprintf("%c %s", e.Type, e.Name)
		if e.Opaque {
			line += " opaque"
		}
		if e.Linkname != "" {
			line += " -> " + e.Linkname
		}
		for k, v := range e.Xattrs {
			line += fmt.Sprintf(" %s=%q", k, v)
		}
		if content != nil {
			data, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %q", data)
		}
		lines = append(lines, line)
		return nil
	}
	d := newDiffer(context.Background(), DiffOptions{Prune: prune}, add)
	if err := d.run(upper, lowers); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestDiff(t *testing.T) {
	needRoot(t)
	tests := map[string]struct {
		script string
		want   []string
	}{
		"nothing":                {script: ":"},
		"add":                    {script: "echo -n hi >etc/new", want: []string{"5 etc", `0 etc/new "hi"`}},
		"change":                 {script: "echo -n more >>etc/passwd", want: []string{"5 etc", `0 etc/passwd "rootmore"`}},
		"delete":                 {script: "rm etc/passwd", want: []string{"5 etc", "w etc/passwd"}},
		"delete a directory":     {script: "rm -r dir", want: []string{"w dir"}},
		"made and removed":       {script: "echo >etc/new; rm etc/new; mkdir x; rmdir x"},
		"recreate":               {script: "rm -r dir; mkdir dir; echo -n 3 >dir/c", want: []string{"5 dir opaque", `0 dir/c "3"`}},
		"recreate empty":         {script: "rmdir void; mkdir void"},
		"file becomes dir":       {script: "rm etc/passwd; mkdir etc/passwd", want: []string{"5 etc", "5 etc/passwd"}},
		"dir becomes file":       {script: "rm -r dir; echo -n 1 >dir", want: []string{`0 dir "1"`}},
		"rename dir":             {script: "mv dir moved", want: []string{"w dir", "5 moved", `0 moved/a "1"`, "5 moved/sub", `0 moved/sub/b "2"`}},
		"chmod":                  {script: "chmod 600 etc/passwd", want: []string{"5 etc", `0 etc/passwd "root"`}},
		"chmod and back":         {script: "chmod 600 etc/passwd; chmod 644 etc/passwd"},
		"chmod dir":              {script: "chmod 700 dir/sub", want: []string{"5 dir", "5 dir/sub"}},
		"chown":                  {script: "chown 7 etc/passwd", want: []string{"5 etc", `0 etc/passwd "root"`}},
		"touch":                  {script: "touch etc/passwd", want: []string{"5 etc", `0 etc/passwd "root"`}},
		"touch of access":        {script: "touch -a etc/passwd"},
		"touch and back":         {script: "touch etc/passwd; touch -d @1700000000 etc/passwd"},
		"same time, other text":  {script: "echo -n toor >etc/passwd; touch -d @1700000000 etc/passwd", want: []string{"5 etc", `0 etc/passwd "toor"`}},
		"same link":              {script: "ln -sfn passwd etc/link; touch -hd @1700000000 etc/link"},
		"other link":             {script: "ln -sfn other etc/link", want: []string{"5 etc", "2 etc/link -> other"}},
		"hard links":             {script: "echo -n x >etc/1; ln etc/1 dir/0; ln etc/1 etc/2", want: []string{"5 dir", `0 dir/0 "x"`, "5 etc", "1 etc/1 -> dir/0", "1 etc/2 -> dir/0"}},
		"link to unchanged":      {script: "ln etc/passwd etc/other", want: []string{"5 etc", `0 etc/other "root"`, "1 etc/passwd -> etc/other"}},
		"whiteouts are no links": {script: "rm -r dir/a dir/sub etc/passwd", want: []string{"5 dir", "w dir/a", "w dir/sub", "5 etc", "w etc/passwd"}},
		"attribute":              {script: `python3 -c 'import os; os.setxattr("etc/passwd", "user.note", b"hey")'`, want: []string{"5 etc", `0 etc/passwd user.note="hey" "root"`}},
		"pipe":                   {script: "mkfifo etc/p", want: []string{"5 etc", "6 etc/p"}},
		"device":                 {script: "mknod etc/null c 1 3", want: []string{"5 etc", "3 etc/null"}},
		"root":                   {script: "chmod 700 .", want: []string{"5 ."}},
		"children come first":    {script: "mkdir a a.b; echo -n >a/x; echo -n >a-b", want: []string{"5 a", `0 a/x ""`, `0 a-b ""`, "5 a.b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			low := t.TempDir()
			err := Apply(context.Background(), tarOf(t, folder(".", 0o755), folder("etc", 0o755), file("etc/passwd", "root"), symlink("etc/link", "passwd"),
				folder("dir", 0o755), file("dir/a", "1"), folder("dir/sub", 0o755), file("dir/sub/b", "2"), folder("void", 0o755)), low, ApplyOptions{})
			if err != nil {
				t.Fatal(err)
			}
			root, upper := overlayOf(t, low)
			cmd := exec.Command("/bin/sh", "-ec", tt.script)
			cmd.Dir = root
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			merged := listing(t, root)
			if err := unix.Unmount(root, 0); err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(tt.want, changes(t, upper, []string{low}, false)) {
				t.Error(cmp.Diff(tt.want, changes(t, upper, []string{low}, false)))
			}
			checkPruned(t, upper, low, tt.want, merged)
		})
	}
}

// checkPruned asks of a pruned upper that it is the layer and nothing else.
func checkPruned(t *testing.T, upper, low string, want, merged []string) {
	t.Helper()
	changes(t, upper, []string{low}, true)
	if diff := cmp.Diff(want, changes(t, upper, []string{low}, false)); diff != "" {
		t.Errorf("after pruning: %s", diff)
	}
	if got := listing(t, upper); len(want) == 0 && len(got) != 0 {
		t.Errorf("pruning leaves %q", got)
	}
	empty := t.TempDir()
	o := fmt.Sprintf("lowerdir=%s:%s", upper, low)
	if err := unix.Mount("overlay", empty, "overlay", 0, o); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(empty, unix.MNT_DETACH)
	if diff := cmp.Diff(merged, listing(t, empty)); diff != "" {
		t.Errorf("a pruned upper shows another tree: %s", diff)
	}
}

func TestDiffPruneWholeSeconds(t *testing.T) {
	needRoot(t)
	low := t.TempDir()
	root, upper := overlayOf(t, low)
	at := time.Unix(1_600_000_000, 123)
	os.MkdirAll(filepath.Join(root, "d"), 0o755)
	for _, name := range []string{"d/f", "d"} {
		if name != "d" {
			os.WriteFile(filepath.Join(root, name), []byte("x"), 0o644)
		}
		if err := os.Chtimes(filepath.Join(root, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	unix.Unmount(root, 0)
	changes(t, upper, []string{low}, true)
	for _, name := range []string{"d", "d/f"} {
		st, err := os.Lstat(filepath.Join(upper, name))
		if err != nil || !st.ModTime().Equal(at.Truncate(time.Second)) {
			t.Errorf("%s: %v, %v", name, st.ModTime(), err)
		}
	}
}

func TestDiffDropsSockets(t *testing.T) {
	needRoot(t)
	upper := t.TempDir()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(upper, "s")}); err != nil {
		t.Fatal(err)
	}
	if got := changes(t, upper, nil, false); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// A file whose place a socket has taken is gone.
func TestDiffOfASocketInPlaceOfAFile(t *testing.T) {
	needRoot(t)
	low, upper := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(low, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(upper, "f"), unix.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the pruned tree says the same
		if diff := cmp.Diff([]string{"w f"}, changes(t, upper, []string{low}, true)); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	}
}
