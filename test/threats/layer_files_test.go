//go:build linux

package threats

import (
	"archive/tar"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

func TestT15Devices(t *testing.T) {
	p := newPlace(t)
	devices := []entry{device(tar.TypeBlock, "disk", 8, 0), device(tar.TypeChar, "mem", 1, 1), device(tar.TypeChar, "control", 10, 237)}
	p.takenLayer(tarOf(t, devices...), func(r *result) {
		if e := r.entry("disk"); e.Type != layer.Block || e.Devmajor != 8 {
			t.Errorf("disk is %+v", e)
		}
	}, `for f in /disk /mem /control; do test "$(dd if=$f bs=1 count=1 2>/dev/null | wc -c)" = 0; done`)
	p.takenArchive(tarOf(t, devices...), func(r *result) { r.entry("mem") })
	big := device(tar.TypeChar, "x", 1<<32, 1<<32)
	big.Format = tar.FormatGNU
	for _, e := range []entry{device(tar.TypeChar, "x", 1<<12, 0), device(tar.TypeBlock, "x", 0, 1<<20), big} {
		p.refusedTar(tarOf(t, e), "out of range")
	}
}

func TestT16Pipes(t *testing.T) {
	p := newPlace(t)
	isPipe := func(name string) func(*result) {
		return func(r *result) {
			if e := r.entry(name); e.Type != layer.Fifo {
				t.Errorf("%s is %+v", name, e)
			}
		}
	}
	p.takenTar(tarOf(t, fifo("pipe")), isPipe("pipe"), "test -p /pipe && mv /pipe /moved && mv /moved /pipe")
	must(t, unix.Mkfifo(filepath.Join(p.context, "fifo.tar"), 0o644))
	must(t, os.MkdirAll(filepath.Join(p.context, "d"), 0o755))
	must(t, unix.Mkfifo(filepath.Join(p.context, "d/pipe"), 0o644))
	t.Chdir(filepath.Join(p.context, "d"))
	l, err := net.Listen("unix", "socket") // by a short name
	must(t, err)
	defer l.Close()
	isPipe("fifo.tar")(p.accepted("FROM scratch\nADD fifo.tar /\n"))
	got := p.accepted("FROM scratch\nCOPY d /d\n")
	isPipe("d/pipe")(got)
	got.lacks("d/socket")
}

func TestT17ModesAndOwners(t *testing.T) {
	p := newPlace(t)
	all := file("all", "").with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = 0o7777, 7, 7 })
	unknown := raw(block(tar.TypeReg, "unknown", octal(0), map[int]string{100: "7777755\x00"}))
	p.takenLayer(tarOf(t, all, unknown), func(r *result) {
		if e := r.entry("all"); e.Mode != 0o7777 || e.UID != 7 {
			t.Errorf("all is %+v", e)
		}
		if e := r.entry("unknown"); e.Mode != 0o7755 {
			t.Errorf("unknown is %+v", e)
		}
	}, `test "$(stat -c %a:%u:%g /all)" = 7777:7:7 && test $(stat -c %a /unknown) = 7755`)
	for _, large := range []int64{1<<32 - 1, 1 << 32, 1 << 40, -1, -2} {
		id := int(large)
		for _, e := range []entry{file("x", "").with(func(h *tar.Header) { h.Uid = id; h.Format = tar.FormatGNU }), file("x", "").with(func(h *tar.Header) { h.Gid = id; h.Format = tar.FormatGNU })} {
			p.refusedLayer(tarOf(t, e), "out of range")
		}
	}
	named := file("named", "").with(func(h *tar.Header) { h.Uname, h.Gname = "nobody-knows", "nobody-knows" })
	p.takenTar(tarOf(t, named), func(r *result) {
		if e := r.entry("named"); e.UID != 0 || e.GID != 0 {
			t.Errorf("named is %+v", e)
		}
	}, "test $(stat -c %u /named) = 0")
}

// ping is the capability of ping, version 2.
const ping = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func TestT18Attributes(t *testing.T) {
	p := newPlace(t)
	capable := file("ping", "").pax("SCHILY.xattr.security.capability", ping).pax("SCHILY.xattr.user.binary", "\x00\xff\n=").with(func(h *tar.Header) { h.Uid = 7 })
	labelled := file("labelled", "").pax("SCHILY.xattr.security.selinux", "system_u:object_r:bin_t:s0").pax("SCHILY.xattr.security.ima", "x")
	link := symlink("link", "ping").pax("SCHILY.xattr.user.note", "n")
	p.takenLayer(tarOf(t, capable, labelled, link), func(r *result) {
		if e := r.entry("ping"); e.Xattrs["security.capability"] != ping || e.Xattrs["user.binary"] != "\x00\xff\n=" {
			t.Errorf("ping has %q", e.Xattrs)
		}
		if e := r.entry("labelled"); len(e.Xattrs) > 0 {
			t.Errorf("labelled has %q", e.Xattrs)
		}
	}, "touch /ping") // so that what the command leaves is read back
	for _, e := range []entry{
		file("x", "").pax("SCHILY.xattr.user.big", strings.Repeat("x", 64<<10+1)),
		file("x", "").pax("SCHILY.xattr."+strings.Repeat("n", 256), "x"),
		file("x", "").pax("SCHILY.xattr.", "x"),
		raw(paxBlocks('x', record("SCHILY.xattr.user.a\nb", "x")), block(tar.TypeReg, "x", octal(0), nil)),
	} {
		p.refusedLayer(tarOf(t, e), "cannot be stored")
	}
	var many strings.Builder
	for range 30_000 {
		many.WriteString(record("SCHILY.xattr.user."+strings.Repeat("n", 5)+time.Duration(many.Len()).String(), ""))
	}
	huge := tarOf(t, raw(paxBlocks('x', many.String()), block(tar.TypeReg, "x", octal(0), nil)))
	p.refusedLayer(huge, "archive/tar")
	p.archive("huge.tar", huge) // what does not begin like an archive is a file, as with BuildKit
	p.accepted("FROM scratch\nADD huge.tar /\n").entry("huge.tar")
}

func TestT34DefaultsOfDirectories(t *testing.T) {
	p := newPlace(t)
	acl := "\x02\x00\x00\x00" + // version 2: user rwx, group rwx, others rwx
		"\x01\x00\x07\x00\xff\xff\xff\xff" + "\x04\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x07\x00\xff\xff\xff\xff"
	data := tarOf(t, dir("d").pax("SCHILY.xattr.system.posix_acl_default", acl).pax("SCHILY.fflags", "immutable,append"),
		file("d/f", "").with(func(h *tar.Header) { h.Mode = 0o600 }), dir("d/sub").with(func(h *tar.Header) { h.Mode = 0o700 }))
	p.takenLayer(data, func(r *result) {
		if r.entry("d/f").Mode != 0o600 || r.entry("d/sub").Mode != 0o700 {
			t.Errorf("f is %+v, sub is %+v", r.entry("d/f"), r.entry("d/sub"))
		}
	}, "test $(stat -c %a /d/f /d/sub | tr -d '\\n') = 600700 && rm -r /d/f && touch /d/f && chmod 600 /d/f")
	p.write("Dockerfile", "FROM scratch\nCOPY a /a\n")
	p.write("a", "")
	umask := func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `umask 0777; exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path, _ = exec.LookPath("sh")
	}
	if o := p.callWith(umask, "build", "-q", "."); o.code != 0 {
		t.Errorf("under the umask 0777 it fails: %s", o.stderr)
	}
}

func TestT35DirectoriesNobodyMayWriteTo(t *testing.T) {
	p := newPlace(t)
	closed := func(mode int64) func(*tar.Header) { return func(h *tar.Header) { h.Mode = mode } }
	data := tarOf(t, dir("shut").with(closed(0)), file("shut/in", "in"), dir("read").with(closed(0o555)), dir("read/only").with(closed(0o500)), file("read/only/in", "in"))
	p.takenTar(data, func(r *result) {
		r.holds("shut/in", "in")
		r.holds("read/only/in", "in")
		if r.entry("shut").Mode != 0 || r.entry("read/only").Mode != 0o500 {
			t.Errorf("shut is %+v", r.entry("shut"))
		}
	}, "test $(stat -c %a /shut /read /read/only | tr -d '\\n') = 0555500")
}

func TestT36Times(t *testing.T) {
	p := newPlace(t)
	at := func(year int) func(*tar.Header) {
		return func(h *tar.Header) { h.ModTime = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
	}
	data := tarOf(t, dir("d").with(at(2001)), file("d/f", "").with(at(2002)), symlink("d/l", "f").with(at(2003)), fifo("d/p").with(at(2004)),
		hardlink("d/h", "d/f").with(at(2005)), dir("d/sub").with(at(2006)), file("d/sub/x", "").with(at(2007)), file("old", "").with(at(1960)), file("new", "").with(at(2200)))
	years := map[string]int{"d": 2001, "d/f": 2002, "d/l": 2003, "d/p": 2004, "d/h": 2002, "d/sub": 2006, "d/sub/x": 2007, "old": 1960, "new": 2200}
	p.takenLayer(data, func(r *result) {
		for name, year := range years {
			if got := time.Unix(r.entry(name).ModTime, 0).UTC().Year(); got != year {
				t.Errorf("%s is of %d, not of %d", name, got, year)
			}
		}
	}, `test "$(for f in d d/f d/l d/p d/h d/sub; do date -d @$(stat -c %Y /$f) +%Y; done | tr -d '\n')" = 200120022003200420022006`)
}
