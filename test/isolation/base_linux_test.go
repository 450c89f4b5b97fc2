package isolation

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ocibuild/ocibuild/internal/busybox"
)

var (
	// epoch is SOURCE_DATE_EPOCH of every build.
	epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	// old is the time of files that are there before.
	old = time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC)
)

const baseDockerfile = `FROM scratch
ADD rootfs.tar /
ENV PATH=/usr/local/bin:/usr/bin:/bin
CMD ["sh"]
`

// passwd and group have people, so that names mean something.
const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nmail:x:8:8:mail:/var/mail:/bin/false\napp:x:1234:1235:app:/home/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
	group  = "root:x:0:\nmail:x:8:app\nstaff:x:50:app\napp:x:1235:\nnogroup:x:65534:\n"
)

// writeBase makes the build context of the image that all cases stand on. It has
// busybox, the program hand, and files to change; it lacks /etc/hosts,
// /etc/resolv.conf, and /dev, so that places for them have to be made.
func writeBase(t *testing.T, dir string) {
	t.Helper()
	path, err := busybox.Static()
	if err != nil {
		t.Skipf("SKIPPED: there is nothing to run: %v", err)
	}
	program, err := os.ReadFile(path)
	must(t, err)
	list, err := exec.Command(path, "--list").Output()
	must(t, err)

	a := newArchive()
	for _, d := range []string{"bin/", "etc/", "home/", "proc/", "run/", "sys/", "usr/", "usr/bin/", "var/", "root/"} {
		a.dir(d, 0o755)
	}
	a.dir("tmp/", 0o1777)
	a.add(tar.Header{Typeflag: tar.TypeDir, Name: "home/app/", Mode: 0o750, Uid: 1234, Gid: 1235}, nil)
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, program)
	for applet := range strings.FieldsSeq(string(list)) {
		if applet != "busybox" {
			a.link("bin/"+applet, "busybox")
		}
	}
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/hand", Mode: 0o755}, compile(t, "./hand", filepath.Join(dir, "hand")))
	a.file("etc/passwd", passwd)
	a.file("etc/group", group)
	a.link("var/run", "../run")
	a.link("usr/bin/env", "../../bin/env")
	// What steps change, replace, rename and remove.
	for _, d := range []string{"old/", "old/deep/", "old/deep/er/", "old/empty/"} {
		a.dir(d, 0o755)
	}
	for _, f := range []string{"old/one", "old/two", "old/three", "old/deep/file", "old/deep/er/file"} {
		a.file(f, "the "+f+" of the base\n")
	}
	a.link("old/link", "one")
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "old/mine", Mode: 0o640, Uid: 1234, Gid: 1235}, []byte("app's\n"))
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "old/setuid", Mode: 0o4755, Uid: 8, Gid: 8}, []byte("set-id\n"))
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "old/read-only", Mode: 0o444}, []byte("read-only\n"))
	a.add(tar.Header{Typeflag: tar.TypeFifo, Name: "old/fifo", Mode: 0o622, Uid: 8}, nil)
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "old/capable", Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.color": "red",
	}}, []byte("may bind low ports\n"))
	must(t, writeFiles(dir, map[string][]byte{"Dockerfile": []byte(baseDockerfile), "rootfs.tar": a.bytes()}))
}

// capability is cap_net_bind_service+ep, as the kernel keeps it.
const capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// archives are files that a case can have in its context.
var archives = map[string]func() []byte{
	// Every kind of file that needs no privilege, with owners, times and attributes.
	"odd.tar": func() []byte { return oddArchive().bytes() },
	"odd.tar.gz": func() []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(oddArchive().bytes()) // to memory
		_ = w.Close()
		return b.Bytes()
	},
}

func oddArchive() *archive {
	a := newArchive()
	a.add(tar.Header{Typeflag: tar.TypeDir, Name: "d/", Mode: 0o2775, Uid: 1234, Gid: 50}, nil)
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o6711, Uid: 1234, Gid: 8}, []byte("f\n"))
	a.add(tar.Header{Typeflag: tar.TypeLink, Name: "d/hard", Linkname: "d/f", Mode: 0o6711, Uid: 1234, Gid: 8}, nil)
	a.add(tar.Header{Typeflag: tar.TypeSymlink, Name: "d/soft", Linkname: "/nowhere/at all", Mode: 0o777, Uid: 8, Gid: 8}, nil)
	a.add(tar.Header{Typeflag: tar.TypeFifo, Name: "d/fifo", Mode: 0o620, Uid: 8}, nil)
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "implied/parent/of", Mode: 0o600}, []byte("this\n"))
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: "d/attr", Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.of": "the archive",
	}}, []byte("a\n"))
	return a
}

// archive is a tar in the making.
type archive struct {
	b bytes.Buffer
	w *tar.Writer
}

func newArchive() *archive {
	a := &archive{}
	a.w = tar.NewWriter(&a.b)
	return a
}

func (a *archive) add(h tar.Header, data []byte) {
	h.Size, h.ModTime, h.Format = int64(len(data)), old, tar.FormatPAX
	if err := a.w.WriteHeader(&h); err != nil {
		panic(err) // a mistake in this file
	}
	_, _ = a.w.Write(data) // to memory
}

func (a *archive) dir(name string, mode int64) {
	a.add(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}, nil)
}

func (a *archive) file(name, data string) {
	a.add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, []byte(data))
}

func (a *archive) link(name, to string) {
	a.add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}, nil)
}

func (a *archive) bytes() []byte {
	_ = a.w.Close() // to memory
	return a.b.Bytes()
}
