package sandbox

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/notify"
)

// What a step sees of owners and identities is the same as root, in a user
// namespace with many ids, where it is the kernel who answers, and in one with a
// single id, where we do.
func TestOwners(t *testing.T) {
	needIDs(t)
	tests := map[string]struct{ script, want string }{
		"chown": {`touch f; ln -s f l; mkdir d; chown 5:6 f; chown -h 7:8 l; chown 9 d; chown :4 d; show f l d`,
			"f 5:6 644 regular empty file 1\nl 7:8 777 symbolic link 1\nd 9:4 755 directory 2\n"},
		"chown follows":        {`touch f; ln -s f l; chown 5:6 l; show f l`, "f 5:6 644 regular empty file 1\nl 0:0 777 symbolic link 1\n"},
		"and back":             {`touch f; chown 5:6 f; chown 0:0 f; show f`, "f 0:0 644 regular empty file 1\n"},
		"set-id bits":          {`touch f; chmod 6755 f; chown 5:6 f; show f; chmod 4755 f; show f; mkdir d; chmod 2755 d; chown 5:6 d; show d`, "f 5:6 755 regular empty file 1\nf 5:6 4755 regular empty file 1\nd 5:6 2755 directory 2\n"},
		"of the image":         {`chown 5:6 /etc/group; show /etc/group /etc/passwd`, "/etc/group 5:6 644 regular file 1\n/etc/passwd 0:0 644 regular file 1\n"},
		"hard links":           {`touch f; ln f g; chown 5:6 f; rm f; show g; ln -s x l; ln l k; chown -h 3 k; show l`, "g 5:6 644 regular empty file 1\nl 3:0 777 symbolic link 2\n"},
		"rename":               {`touch f; ln -s f l; chown 5:6 f; chown -h 7 l; mv f g; mv l k; show g k; touch h; mv h g; show g`, "g 5:6 644 regular empty file 1\nk 7:0 777 symbolic link 1\ng 0:0 644 regular empty file 1\n"},
		"overwritten":          {`echo 1 >f; chown 5:6 f; echo 2 >f; show f; rm f; echo 3 >f; show f`, "f 5:6 644 regular file 1\nf 0:0 644 regular file 1\n"},
		"pipes":                {`mkfifo p; chown 5:6 p; show p; (echo through >p) & cat p`, "p 5:6 644 fifo 1\nthrough\n"},
		"groups of a setgid":   {`mkdir d; chown :7 d; chmod 2775 d; mkdir d/e; touch d/f d/e/g; ln -s x d/l; cd d; show e f e/g l`, "e 0:7 2755 directory 2\nf 0:7 644 regular empty file 1\ne/g 0:7 644 regular empty file 1\nl 0:7 777 symbolic link 1\n"},
		"copies":               {`mkdir d; touch d/f; ln -s f d/l; chown 5:6 d d/f; chown -h 7:8 d/l; cp -a d e; show e e/f e/l`, "e 5:6 755 directory 2\ne/f 5:6 644 regular empty file 1\ne/l 7:8 777 symbolic link 1\n"},
		"archives":             {`mkdir d; touch d/f; ln -s f d/l; chown 5:6 d d/f; chown -h 7:8 d/l; tar cf x d; mv d o; tar xf x; show d d/f`, "d 5:6 755 directory 2\nd/f 5:6 644 regular empty file 1\n"},
		"another root":         {`mkdir -p r/bin r/tmp; cp /bin/busybox r/bin; chown 8:9 r/tmp; busybox chroot r /bin/busybox sh -c 'touch /f; busybox chown 5:6 /f; cd /tmp; busybox stat -c %u:%g /f . ..'; show r/f`, "5:6\n8:9\n0:0\nr/f 5:6 644 regular empty file 1\n"},
		"of a mount":           {`touch /mnt/f; chown 5:6 /mnt/f /mnt; show /mnt /mnt/f`, "/mnt 5:6 1777 directory 2\n/mnt/f 5:6 644 regular empty file 1\n"},
		"standard output":      {`chown 5 /dev/stdout; chown 5 /proc/self/fd/1; echo fine`, "fine\n"},
		"what is not there":    {`chown 5 nothing 2>&1; chown 5 f/g 2>&1; chown 5 "" 2>&1; true`, "chown: nothing: No such file or directory\nchown: f/g: No such file or directory\nchown: : No such file or directory\n"},
		"su":                   {`su app -c 'id; touch /tmp/f; mkdir /tmp/d; ln -s x /tmp/l; mkfifo /tmp/p; cd /tmp; stat -c "%n %u:%g" f d l p'`, "uid=1000(app) gid=1000(app) groups=10(wheel),1000(app),2000(extra)\nf 1000:1000\nd 1000:1000\nl 1000:1000\np 1000:1000\n"},
		"not as another":       {`touch f; chmod 666 f; su app -c 'cd /w; chown 1000 f; touch g; chown 0 g; chown :5 g; chown :2000 g; stat -c %u:%g f g' 2>&1`, "chown: f: Operation not permitted\nchown: g: Operation not permitted\nchown: g: Operation not permitted\n0:0\n1000:2000\n"},
		"children of the dead": {`su app -c '(sleep 0.2; id -u >/tmp/late) & exit 0'; sleep 0.5; cat /tmp/late; show /tmp/late`, "1000\n/tmp/late 1000:1000 644 regular file 1\n"},
		"set-user-ID programs": {`cp /bin/busybox idn; chown 77:88 idn; chmod 6755 idn; mv idn /tmp/id; /tmp/id`, "uid=0(root) gid=0(root) euid=77 egid=88 groups=0(root),10(wheel)\n"},
		"but not scripts":      {`printf '#!/bin/sh\nid -u\n' >s; chown 77 s; chmod 4755 s; su app -c /w/s`, "1000\n"},
		"nor failing ones":     {`echo garbage >s; chown 77 s; chmod 4755 s; su app -c 'sh -c "/w/s" 2>/dev/null; id -u; touch /tmp/f'; show /tmp/f`, "1000\n/tmp/f 1000:1000 644 regular empty file 1\n"},
		"umask":                {`su app -c 'umask 027; touch /tmp/f; mkdir /tmp/d; mkfifo /tmp/p'; cd /tmp; show f d p`, "f 1000:1000 640 regular empty file 1\nd 1000:1000 750 directory 2\np 1000:1000 640 fifo 1\n"},
		"opened once":          {`su app -c 'echo 1 >/tmp/f; set -C; echo 2 >/tmp/f; set +C; echo 3 >>/tmp/f; cat /tmp/f' 2>/dev/null`, "1\n3\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			im := newImage(t)
			script := `show() { busybox stat -c "%n %u:%g %a %F %h" "$@"; }; chmod 1777 /tmp; mkdir -m 777 /w; cd /w; ` +
				`for a in chown ln mkfifo cp mv tar su rmdir; do alias $a="busybox $a"; done
` + tt.script
			out := im.run(Spec{Args: []string{"sh", "-c", script}, Mounts: []Mount{{Type: Tmpfs, Target: "/mnt"}}}).ok(t)
			if diff := cmp.Diff(tt.want, out); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Where devices cannot be made, they are told of all the same.
func TestDevices(t *testing.T) {
	if os.Getenv(modeVar) == modeUser {
		t.Skip("SKIPPED: devices cannot be made in a user namespace")
	}
	im := newImage(t)
	out := im.sh(`mknod /c c 1 3; mknod -m 600 /b b 7 200; busybox chown 5:6 /c; ln /c /d; busybox stat -c '%n %u:%g %a %F %t,%T' /c /b /d
		test -c /c && test -b /b && echo so they are; mknod /w c 0 0 2>&1; mknod /c c 1 5 2>&1`)
	want := "/c 5:6 644 character special file 1,3\n/b 0:0 600 block special file 7,c8\n/d 5:6 644 character special file 1,3\nso they are\n" +
		"mknod: /w: Operation not permitted\nmknod: /c: File exists\n"
	if diff := cmp.Diff(want, out.out); diff != "" {
		t.Error(diff)
	}
}

func TestUserOfStep(t *testing.T) {
	needIDs(t)
	for user, want := range map[string]string{
		"":          "uid=0(root) gid=0(root) groups=0(root),10(wheel)\n0:0\n",
		"app":       "uid=1000(app) gid=1000(app) groups=10(wheel),1000(app),2000(extra)\n1000:1000\n",
		"app:wheel": "uid=1000(app) gid=10(wheel) groups=10(wheel)\n1000:10\n",
		"1234:4321": "uid=1234 gid=4321 groups=4321\n1234:4321\n",
	} {
		im := newImage(t)
		s := Spec{Args: []string{"sh", "-c", "id; stat -c %u:%g /made"}, User: user, Cwd: "/made"}
		if out := im.run(s).ok(t); out != want {
			t.Errorf("user %q: %q, want %q", user, out, want)
		}
		if uid, gid := ownerOf(t, im.upper+"/made"); strings.Split(want, "\n")[1] != itoa(uid)+":"+itoa(gid) {
			t.Errorf("user %q: the directory made for it belongs to %d:%d", user, uid, gid)
		}
	}
}

func TestOwnersOfMounts(t *testing.T) {
	needIDs(t)
	im := newImage(t)
	out := im.run(Spec{Args: []string{"stat", "-c", "%n %u:%g %a", "/t", "/r", "/f"}, Mounts: []Mount{
		{Type: Tmpfs, Target: "/t", UID: 5, GID: 6, Mode: 0o700}, {Type: Tmpfs, Target: "/r", UID: 7, ReadOnly: true, Mode: 0o755},
		{Type: File, Target: "/f", UID: 8, GID: 9, Mode: 0o440},
	}}).ok(t)
	if want := "/t 5:6 700\n/r 7:0 755\n/f 8:9 440\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
}

// A supervisor that dies takes the step with it, and says so.
func TestDeadSupervisor(t *testing.T) {
	if !owners() {
		t.Skip("SKIPPED: there is none where there are ids enough")
	}
	im := newImage(t)
	done := make(chan result)
	go func() { done <- im.sh("touch /running; sleep 60") }()
	for {
		if _, err := os.Lstat(im.upper + "/running"); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	all, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, file := range all {
		pids, _ := os.ReadFile(file)
		for pid := range strings.FieldsSeq(string(pids)) {
			if name, _ := os.ReadFile("/proc/" + pid + "/cmdline"); strings.HasPrefix(string(name), notify.Name) {
				n, err := strconv.Atoi(pid)
				must(t, err)
				must(t, unix.Kill(n, unix.SIGKILL))
			}
		}
	}
	if r := <-done; r.err == nil || !strings.Contains(r.err.Error(), "supervisor") {
		t.Errorf("code %d, %v", r.code, r.err)
	}
}

// static tells whether this program runs without libraries, as in an image.
func static(t *testing.T) bool {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	must(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// program386 makes /tmp/i, chown32s it to 5:6, becomes user 77 and exits with the
// sum of what stat64 and getuid32 say then.
const program386 = "b805000000bbc3800408b941000000baa4010000cd80b8d4000000bbc3800408b905000000ba06000000cd80" +
	"b8d0000000bb4d000000b94d000000ba4d000000cd80b8c3000000bbc3800408b9cc800408cd80" +
	"b8c7000000cd8089c3031de4800408031de8800408b801000000cd802f746d702f6900669000"

// elf386 is a program of one segment that may be written to.
func elf386(t *testing.T, code string) []byte {
	t.Helper()
	const base, headers = 0x8048000, 84
	body, err := hex.DecodeString(code)
	must(t, err)
	out := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 9)...)
	for _, n := range []uint32{2 | 3<<16, 1, base + headers, 52, 0, 0, 52 | 32<<16, 1, 0} {
		out = binary.LittleEndian.AppendUint32(out, n)
	}
	size := uint32(headers + len(body))
	for _, n := range []uint32{1, 0, base, base, size, size + 200, 7, 4096} {
		out = binary.LittleEndian.AppendUint32(out, n)
	}
	return append(out, body...)
}

func TestOwnersFor386(t *testing.T) {
	needIDs(t)
	if runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED: for processors that run programs for 32-bit x86")
	}
	im := newImage(t, func(lower string) { must(t, os.WriteFile(lower+"/bin/p", elf386(t, program386), 0o755)) })
	r := im.run(Spec{Args: []string{"/bin/p"}})
	if r.code == 126 {
		t.Skipf("SKIPPED: no such programs here: %v", r.err)
	}
	if r.code != 5+6+77 {
		t.Errorf("code %d, %v, %s", r.code, r.err, r.out)
	}
}
