package sandbox

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestLookupUser(t *testing.T) {
	root := userFiles(t, passwd+"1001:x:0:0::/root:/bin/sh\nbig:x:4294967296:0::/:\nminus:x:-1:0::/:\nempty:x::0::/:\nwide:x:１:0::/:\nshort:x\nnohome:x:12:34\n",
		group+"1002:x:0:\nbad:x:4294967296:nohome2\n")
	app := Identity{UID: 1000, GID: 1000, Groups: []uint32{1000, 10, 2000}, Home: "/home/app"}
	super := Identity{Groups: []uint32{0, 10}, Home: "/root"}
	for user, want := range map[string]Identity{
		"": super, "0": super, "root": super, ":": super,
		"app": app, "1000": app, "app:": app,
		"app:wheel": {UID: 1000, GID: 10, Groups: []uint32{10}, Home: "/home/app"},
		"1000:10":   {UID: 1000, GID: 10, Groups: []uint32{10}, Home: "/home/app"},
		":extra":    {GID: 2000, Groups: []uint32{2000}, Home: "/root"},
		// A number is an id even where the image has a user of that name.
		"1001":       {UID: 1001, Groups: []uint32{0}, Home: "/"},
		"app:1002":   {UID: 1000, GID: 1002, Groups: []uint32{1002}, Home: "/home/app"},
		"nohome":     {UID: 12, GID: 34, Groups: []uint32{34}, Home: "/"},
		"2147483647": {UID: 2147483647, Groups: []uint32{0}, Home: "/"},
	} {
		got, err := LookupUser(root, user)
		if err != nil {
			t.Errorf("%q: %v", user, err)
		} else if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%q: %s", user, diff)
		}
	}
	for user, want := range map[string]string{
		"ghost":      `user "ghost" is not in /etc/passwd of the image`,
		"app:ghosts": `group "ghosts" is not in /etc/group of the image`,
		"4294967296": "ids end at 2147483647", "4294967295": "ids end at 2147483647", "2147483648": "ids end at 2147483647",
		"99999999999999999999": "ids end at 2147483647", "app:2147483648": "ids end at 2147483647",
		"-1": "malformed", "+0": "malformed", "00": "leading zeros", "0x0": "not in /etc/passwd", "１": "not in /etc/passwd",
		" 0":     "malformed", //nolint:gocritic // the space is what is tested
		"app:-1": "malformed", "app:bad": "malformed", "a\nb": "malformed",
		"big": "malformed user id", "minus": "malformed user id", "empty": "malformed user id", "wide": "malformed user id",
		"short": "not in /etc/passwd",
	} {
		got, err := LookupUser(root, user)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v; want %q", user, got, err, want)
		}
	}
}

func userFiles(t *testing.T, passwd, group string) string {
	t.Helper()
	root := t.TempDir()
	must(t, os.Mkdir(root+"/etc", 0o755))
	if passwd != "" {
		must(t, os.WriteFile(root+"/etc/passwd", []byte(passwd), 0o644))
	}
	if group != "" {
		must(t, os.WriteFile(root+"/etc/group", []byte(group), 0o644))
	}
	return root
}

func TestLookupUserWithoutFiles(t *testing.T) {
	root := t.TempDir()
	for user, want := range map[string]Identity{
		"": {Groups: []uint32{0}, Home: "/root"}, "0": {Groups: []uint32{0}, Home: "/root"},
		"5:6": {UID: 5, GID: 6, Groups: []uint32{6}, Home: "/"},
	} {
		got, err := LookupUser(root, user)
		if err != nil || cmp.Diff(want, *got) != "" {
			t.Errorf("%q: %+v, %v", user, got, err)
		}
	}
}

// An image can put anything in the place of /etc/passwd.
func TestHostilePasswd(t *testing.T) {
	host := t.TempDir()
	must(t, os.WriteFile(host+"/passwd", []byte("app:x:7:7::/:\n"), 0o644))
	for name, c := range map[string]struct {
		make func(name string) error
		want string
	}{
		"pipe":            {func(n string) error { return unix.Mkfifo(n, 0o644) }, "not a regular file"},
		"directory":       {func(n string) error { return os.Mkdir(n, 0o755) }, "not a regular file"},
		"link to host":    {func(n string) error { return os.Symlink(host+"/passwd", n) }, "is not in /etc/passwd"},
		"link to device":  {func(n string) error { return os.Symlink("/dev/zero", n) }, "is not in /etc/passwd"},
		"loop":            {func(n string) error { return os.Symlink("passwd", n) }, "too many levels"},
		"sparse, too big": {func(n string) error { return sparse(n, 3<<30) }, "exceeds 10 MiB"},
		"one long line":   {func(n string) error { return os.WriteFile(n, make([]byte, 10<<20+1), 0o644) }, "exceeds 10 MiB"},
	} {
		root := userFiles(t, "", "")
		must(t, c.make(root+"/etc/passwd"))
		begin := time.Now()
		_, err := LookupUser(root, "app")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if d := time.Since(begin); d > 20*time.Second {
			t.Errorf("%s: took %v", name, d)
		}
	}
}

func sparse(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Truncate(size)
}
