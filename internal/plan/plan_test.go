package plan

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

var ctx = context.Background()

// tree makes a tree of nouns: "dir/", "file=content", "link->target", each with
// an optional " mode uid:gid" behind it.
func tree(t *testing.T, nouns ...string) *Tree {
	t.Helper()
	out := New(nil, Options{Now: time.Unix(1000, 0)})
	for _, noun := range nouns {
		name, rest, _ := strings.Cut(noun, " ")
		e := layer.Entry{Mode: 0o644, ModTime: 5}
		var data string
		switch {
		case strings.HasSuffix(name, "/"):
			e.Name, e.Type, e.Mode = strings.TrimSuffix(name, "/"), layer.Directory, 0o755
		case strings.Contains(name, "->"):
			e.Type, e.Mode = layer.Symlink, 0o777
			e.Name, e.Linkname, _ = strings.Cut(name, "->")
		default:
			e.Type = layer.Regular
			e.Name, data, _ = strings.Cut(name, "=")
			e.Size = int64(len(data))
		}
		if rest != "" {
			if _, err := fmt.Sscanf(rest, "%o %d:%d", &e.Mode, &e.UID, &e.GID); err != nil {
				t.Fatalf("%q: %v", noun, err)
			}
		}
		if err := out.mkdirAll(ctx, path.Dir(e.Name), 0o755, nil, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := out.put(ctx, e, content{data: bytes.NewReader([]byte(data))}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// changes lists what a plan would write.
func changes(t *testing.T, tr *Tree) string {
	t.Helper()
	var b strings.Builder
	err := tr.emit(ctx, func(e layer.Entry, c content) error {
		b.WriteString(show(t, e, c))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func show(t *testing.T, e layer.Entry, c content) string {
	t.Helper()
	own := ""
	if e.UID != 0 || e.GID != 0 {
		own = fmt.Sprintf(" %d:%d", e.UID, e.GID)
	}
	switch e.Type {
	case layer.Directory:
		opaque := ""
		if e.Opaque {
			opaque = " opaque"
		}
		return fmt.Sprintf("%s/ %o%s%s\n", e.Name, e.Mode, own, opaque)
	case layer.Symlink:
		return fmt.Sprintf("%s->%s%s\n", e.Name, e.Linkname, own)
	case layer.Hardlink:
		return fmt.Sprintf("%s==%s\n", e.Name, e.Linkname)
	case layer.Whiteout:
		return fmt.Sprintf("%s removed\n", e.Name)
	}
	r, err := c.open(ctx, e.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var data bytes.Buffer
	if _, err := data.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s=%s %o%s\n", e.Name, data.String(), e.Mode, own)
}

// dockerfileCopy is a copy as COPY makes it.
func dockerfileCopy(src, dest string) *graph.Copy {
	return &graph.Copy{
		Src: src, Dest: dest, Mode: -1, Timestamp: -1, FollowSymlink: true, DirContents: true,
		CreateDestPath: true, Wildcard: true, AllowEmpty: true,
	}
}

func TestCopy(t *testing.T) {
	context := []string{"f=1", "g=2", "d/x=3", "d/sub/y=4", "link->f", "dirlink->d", "ex=5 755 0:0"}
	base := []string{"etc/passwd=p", "app/old=o", "bin->usr/bin", "usr/bin/", "abs->/usr", "file=q", "app/d/ 700 7:8"}
	for name, tc := range map[string]struct {
		src, dest string
		change    func(*graph.Copy)
		owner     *Owner
		want, err string
	}{
		"file to a name":              {src: "f", dest: "/new", want: "new=1 644\n"},
		"file into a directory":       {src: "f", dest: "/app/", want: "app/ 755\napp/f=1 644\n"},
		"file onto a directory":       {src: "f", dest: "/app", want: "app/ 755\napp/f=1 644\n"},
		"parents are made":            {src: "f", dest: "/a/b/", want: "a/ 755\na/b/ 755\na/b/f=1 644\n"},
		"directory means its content": {src: "d", dest: "/n", want: "n/ 755\nn/sub/ 755\nn/sub/y=4 644\nn/x=3 644\n"},
		"directories merge, an existing one keeps its mode": {
			src: "d", dest: "/app/d", want: "app/ 755\napp/d/ 700 7:8\napp/d/sub/ 755\napp/d/sub/y=4 644\napp/d/x=3 644\n"},
		"wildcard":                 {src: "?", dest: "/w/", want: "w/ 755\nw/f=1 644\nw/g=2 644\nw/sub/ 755\nw/sub/y=4 644\nw/x=3 644\n"},
		"wildcard without a match": {src: "*.none", dest: "/w/", want: ""},
		"link is followed":         {src: "link", dest: "/l", want: "l=1 644\n"},
		"link to a directory":      {src: "dirlink", dest: "/l/", want: "l/ 755\nl/sub/ 755\nl/sub/y=4 644\nl/x=3 644\n"},
		"source cannot leave":      {src: "../../f", dest: "/n", want: "n=1 644\n"},
		"through a link":           {src: "f", dest: "/bin/", want: "usr/ 755\nusr/bin/ 755\nusr/bin/f=1 644\n"},
		"through an absolute link": {src: "f", dest: "/abs/bin/g", want: "usr/ 755\nusr/bin/ 755\nusr/bin/g=1 644\n"},
		"destination cannot leave": {src: "f", dest: "/../../up", want: "up=1 644\n"},
		"owner":                    {src: "d", dest: "/n/", owner: &Owner{3, 4}, want: "n/ 755 3:4\nn/sub/ 755 3:4\nn/sub/y=4 644 3:4\nn/x=3 644 3:4\n"},
		"mode also of parents":     {src: "f", dest: "/n/f", change: func(c *graph.Copy) { c.Mode = 0o700 }, want: "n/ 700\nn/f=1 700\n"},
		"symbolic mode of parents": {src: "d/x", dest: "/n/x", change: func(c *graph.Copy) { c.Mode, c.ModeStr = 0, "g+w" }, want: "n/ 755\nn/x=3 664\n"},
		"symbolic mode":            {src: "ex", dest: "/n/f", change: func(c *graph.Copy) { c.ModeStr = "go-rwx" }, want: "n/ 755\nn/f=5 700\n"},
		"exclude":                  {src: "d", dest: "/n/", change: func(c *graph.Copy) { c.Exclude = []string{"sub"} }, want: "n/ 755\nn/x=3 644\n"},
		"exclude all but one":      {src: "d", dest: "/n/", change: func(c *graph.Copy) { c.Exclude = []string{"sub", "!sub/y"} }, want: "n/ 755\nn/sub/ 755\nn/sub/y=4 644\nn/x=3 644\n"},
		"include":                  {src: "/", dest: "/n/", change: func(c *graph.Copy) { c.Include = []string{"d/sub/*"} }, want: "n/ 755\nn/d/ 755\nn/d/sub/ 755\nn/d/sub/y=4 644\n"},
		"required directory":       {src: "/", dest: "/n/", change: func(c *graph.Copy) { c.Include, c.Required = []string{"d/sub"}, []string{"/d/sub"} }, want: "n/ 755\nn/d/ 755\nn/d/sub/ 755\nn/d/sub/y=4 644\n"},
		"required below a pivot":   {src: "/d", dest: "/n/", change: func(c *graph.Copy) { c.Include, c.Required = []string{"sub/y"}, []string{"/d/sub/y"} }, want: "n/ 755\nn/sub/ 755\nn/sub/y=4 644\n"},
		"required, but not all of it": {src: "/", dest: "/n/", change: func(c *graph.Copy) {
			c.Include, c.Exclude, c.Required = []string{"d"}, []string{"d/sub"}, []string{"/d"}
		}, want: "n/ 755\nn/d/ 755\nn/d/x=3 644\n"},
		"required and missing":        {src: "/", dest: "/n/", change: func(c *graph.Copy) { c.Include, c.Required = []string{"nope"}, []string{"/nope"} }, err: `"/nope": not found`},
		"missing source":              {src: "nope", dest: "/x", err: `"/nope": not found`},
		"directory onto file":         {src: "d", dest: "/file", err: "/file"},
		"file as a parent":            {src: "f", dest: "/file/x", err: "not a directory"},
		"file onto directory by name": {src: "f", dest: "/", change: func(c *graph.Copy) { c.Dest = "/app/d/" }, want: "app/ 755\napp/d/ 700 7:8\napp/d/f=1 644\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New(tree(t, base...), Options{Now: time.Unix(1000, 0)})
			op := dockerfileCopy(tc.src, tc.dest)
			if tc.change != nil {
				tc.change(op)
			}
			err := tr.Copy(ctx, tree(t, context...), op, tc.owner)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, changes(t, tr)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRemoveAndMakeAgain(t *testing.T) {
	base := tree(t, "a/x=1", "a/y=2", "b=3")
	tr := New(base, Options{Now: time.Unix(1000, 0)})
	must(t, tr.Remove(ctx, &graph.Remove{Path: "/a"}))
	must(t, tr.Remove(ctx, &graph.Remove{Path: "/b"}))
	if got := changes(t, tr); got != "a removed\nb removed\n" {
		t.Fatalf("changes\n%s", got)
	}
	must(t, tr.Mkdir(ctx, &graph.Mkdir{Path: "/a/z", Mode: 0o755, Parents: true, Timestamp: -1}, nil))
	if got := changes(t, tr); got != "a/ 755 opaque\na/z/ 755\nb removed\n" {
		t.Errorf("changes\n%s", got)
	}
	if _, err := tr.Lookup(ctx, "a/x"); err == nil {
		t.Error("what was removed shows through")
	}
	names, err := tr.ReadDir(ctx, "a")
	must(t, err)
	if len(names) != 1 || names[0].Name != "a/z" {
		t.Errorf("a holds %v", names)
	}
	if err := tr.Remove(ctx, &graph.Remove{Path: "/nope"}); err == nil {
		t.Error("removing nothing succeeds")
	}
	must(t, tr.Remove(ctx, &graph.Remove{Path: "/nope", AllowNotFound: true}))
	if err := tr.Remove(ctx, &graph.Remove{Path: "/"}); err == nil {
		t.Error("the root can be removed")
	}
}

func TestRemoveOfAnAddedFileLeavesNothing(t *testing.T) {
	tr := New(nil, Options{})
	must(t, tr.Mkfile(ctx, &graph.Mkfile{Path: "/f", Mode: 0o644, Timestamp: -1}, nil))
	must(t, tr.Remove(ctx, &graph.Remove{Path: "/f"}))
	if got := changes(t, tr); got != "" {
		t.Errorf("changes\n%s", got)
	}
}

// The base may have hidden what is below it; a copy into it must not hide the base.
func TestCopyIntoAnOpaqueDirectoryKeepsWhatIsThere(t *testing.T) {
	base := tree(t, "d/old=1")
	nodeOf(t, base, "d").change(func(e *layer.Entry) { e.Opaque = true })
	for _, src := range []string{"f", "d"} {
		tr := New(base, Options{Now: time.Unix(1000, 0)})
		must(t, tr.Copy(ctx, tree(t, "f=2", "d/f=2"), dockerfileCopy(src, "/d/"), nil))
		if got := changes(t, tr); got != "d/ 755\nd/f=2 644\n" {
			t.Errorf("copy of %s: changes\n%s", src, got)
		}
	}
}

func TestUnpackedLinkGivesItsOwnerAndModeToTheFile(t *testing.T) {
	src := New(nil, Options{})
	data := archive(t, tar.Header{Name: "more", Typeflag: tar.TypeLink, Linkname: "file", Uid: 3, Gid: 4})
	must(t, src.Mkfile(ctx, &graph.Mkfile{Path: "/a", Mode: 0o644, Data: []byte(data), Timestamp: -1}, nil))
	tr := New(tree(t, "file=1 600 7:8"), Options{Now: time.Unix(1, 0)})
	op := dockerfileCopy("a", "/")
	op.Unpack = true
	must(t, tr.Copy(ctx, src, op, nil))
	if got := changes(t, tr); got != "file=1 644 3:4\nmore==file\n" {
		t.Errorf("changes\n%s", got)
	}
}

func TestLinksStayLinks(t *testing.T) {
	src := tree(t, "a/one=1", "b/two=1")
	for _, n := range []string{"a/one", "b/two"} {
		nodeOf(t, src, n).change(func(e *layer.Entry) { e.Inode = "7" })
	}
	tr := New(nil, Options{})
	must(t, tr.Copy(ctx, src, dockerfileCopy("/", "/"), nil))
	if got := changes(t, tr); got != "a/ 755\na/one=1 644\nb/ 755\nb/two==a/one\n" {
		t.Errorf("changes\n%s", got)
	}
}

func TestDigestKnowsContentAndNotTimes(t *testing.T) {
	digest := func(change func(e *layer.Entry)) string {
		src := tree(t, "d/f=1", "g=2")
		if change != nil {
			nodeOf(t, src, "d/f").change(change)
		}
		tr := New(nil, Options{})
		must(t, tr.Copy(ctx, src, dockerfileCopy("/", "/"), nil))
		d, err := tr.Digest(ctx)
		must(t, err)
		return d.String()
	}
	same := digest(nil)
	if digest(func(e *layer.Entry) { e.ModTime = 99 }) != same {
		t.Error("a time changes the digest")
	}
	for name, change := range map[string]func(*layer.Entry){
		"mode":       func(e *layer.Entry) { e.Mode = 0o600 },
		"uid":        func(e *layer.Entry) { e.UID = 1 },
		"xattr":      func(e *layer.Entry) { e.Xattrs = map[string]string{"user.x": "1"} },
		"bytes":      func(e *layer.Entry) { e.Digest = "sha256:other" },
		"two xattrs": func(e *layer.Entry) { e.Xattrs = map[string]string{"user.x": "", "user.y": ""} },
	} {
		if digest(change) == same {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestLookupOwner(t *testing.T) {
	image := tree(t, "etc/passwd=root:x:0:0::/:\napp:x:10:20::/:\nbad:x:z:1::/:\n", "etc/group=root:x:0:\nweb:x:30:\n")
	trees := func(int) (layer.Tree, error) { return image, nil }
	name := func(n string) *graph.ID { return &graph.ID{Name: n} }
	for _, tc := range []struct {
		owner *graph.Owner
		want  *Owner
		err   string
	}{
		{nil, nil, ""},
		{&graph.Owner{User: &graph.ID{Num: 5}}, &Owner{5, 5}, ""},
		{&graph.Owner{User: name("app")}, &Owner{10, 20}, ""},
		{&graph.Owner{User: name("app"), Group: name("web")}, &Owner{10, 30}, ""},
		{&graph.Owner{User: &graph.ID{Num: 5}, Group: &graph.ID{Num: 6}}, &Owner{5, 6}, ""},
		{&graph.Owner{User: name("nobody")}, nil, `user "nobody" is not in /etc/passwd`},
		{&graph.Owner{User: name("app"), Group: name("nope")}, nil, `group "nope" is not in /etc/group`},
		{&graph.Owner{User: name("bad")}, nil, `"z"`},
	} {
		got, err := LookupOwner(ctx, tc.owner, trees)
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			continue
		}
		if err != nil || cmp.Diff(tc.want, got) != "" {
			t.Errorf("LookupOwner = %+v, %v, want %+v", got, err, tc.want)
		}
	}
}

// archive makes a tar of headers; regular files hold their own names.
func archive(t *testing.T, headers ...tar.Header) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(h.Name))
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(h.Name))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.String()
}

func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(s))
	must(t, err)
	must(t, w.Close())
	return b.String()
}

// bzip2Archive is a tar of the file f, which nothing that we have can write.
const bzip2Archive = "QlpoOTFBWSZTWdRA/6IAAG3bgMmQQAB3AAAA4QAeAAgIIABURqNAA0NNBJFMjTTJhMm7yHQg6gCEUbFZFfO+UCGCblOBOwizgtGiXeZRC0ZWZpgAi+LuSKcKEhqIH/RA"

func bytesOf(t testing.TB, text string) string {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	must(t, err)
	return string(data)
}

func zstded(s string) string {
	w, _ := zstd.NewWriter(nil) // no options: no error
	defer w.Close()
	return string(w.EncodeAll([]byte(s), nil))
}

func TestUnpack(t *testing.T) {
	plain := archive(t,
		tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o777},
		tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "d/f", Uid: 9},
		tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "d/f", Uid: 9},
		tar.Header{Name: "sub/implied"},
		tar.Header{Name: "abs", Typeflag: tar.TypeSymlink, Linkname: "/etc"},
	)
	want := "out/ 755\nout/abs->/etc\nout/d/ 700\nout/d/f=d/f 644 9:0\nout/hard==out/d/f\nout/sub/ 755\nout/sub/implied=sub/implied 644\n"
	for name, tc := range map[string]struct{ data, want, err string }{
		"tar":                 {data: plain, want: want},
		"gzip":                {data: gzipped(t, plain), want: want},
		"bzip2":               {data: bytesOf(t, bzip2Archive), want: "out/ 755\nout/f=f\n 644\n"},
		"zstd, frame skipped": {data: "\x50\x2a\x4d\x18\x01\x00\x00\x00x" + zstded(plain), want: want},
		"xz with filters":     {data: bytesOf(t, "/Td6WFoAAATm1rRGAgEEACEBDADWfBivAQAAeAAAAABFru+D+O4WCgABGQGlLIHMH7bzfQEAAAAABFla"), err: `"/a": an xz file with filters cannot be unpacked; pack it`},
		"xz of 1 GiB":         {data: bytesOf(t, "/Td6WFoAAATm1rRGAgAhASQAAABeH8f5AQAAeAAAAABFru+D+O4WCgABGQGlLIHMH7bzfQEAAAAABFla"), err: "an xz file that wants 1073741824 bytes of memory"},
		"damaged zstd":        {data: zstded(plain)[:len(zstded(plain))-1] + "x", err: `archive "/a": `},
		"zstd of 256 MiB":     {data: "\x28\xb5\x2f\xfd\x00\x90\x01\x00\x00", err: "a zstd file that wants more than 134217728 bytes of memory cannot be unpacked"},
		"not an archive":      {data: gzipped(t, "text"), want: "out/ 755\nout/a=" + gzipped(t, "text") + " 644\n"},
		"empty":               {data: "", want: "out/ 755\nout/a= 644\n"},
		"leads out":           {data: archive(t, tar.Header{Name: "../x"}), err: "leads out"},
		"link leads out":      {data: archive(t, tar.Header{Name: "l", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}), err: "leads out"},
		"through its links":   {data: archive(t, tar.Header{Name: "etc/e"}, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/etc"}, tar.Header{Name: "l/x"}), want: "out/ 755\nout/etc/ 755\nout/etc/e=etc/e 644\nout/etc/x=l/x 644\nout/l->/etc\n"},
		"links of others":     {data: archive(t, tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../etc"}, tar.Header{Name: "l/x"}), err: "leads out"},
	} {
		t.Run(name, func(t *testing.T) {
			src := New(nil, Options{})
			must(t, src.Mkfile(ctx, &graph.Mkfile{Path: "/a", Mode: 0o644, Data: []byte(tc.data), Timestamp: -1}, nil))
			tr := New(tree(t, "etc/"), Options{Now: time.Unix(1, 0)})
			op := dockerfileCopy("a", "/out/")
			op.Unpack = true
			err := tr.Copy(ctx, src, op, nil)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			must(t, err)
			if diff := cmp.Diff(tc.want, changes(t, tr)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// nodeOf returns the node of a name, and makes it.
func nodeOf(t *testing.T, tr *Tree, name string) *node {
	t.Helper()
	n, err := tr.node(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
