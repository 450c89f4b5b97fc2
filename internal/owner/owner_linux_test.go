package owner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

var some = []Owner{
	{}, {UID: 1}, {GID: 1}, {UID: 65534, GID: 42}, {UID: 1<<32 - 2, GID: 1<<32 - 2},
	{Device: 'c', Major: 1, Minor: 3}, {UID: 5, GID: 6, Device: 'b', Major: 4095, Minor: 1 << 19},
}

func TestText(t *testing.T) {
	for _, o := range some {
		if got, ok := Parse(o.String()); !ok || got != o {
			t.Errorf("%q is read as %v, %v", o.String(), got, ok)
		}
	}
	for _, text := range []string{"", "1", "1:2:3", "1:2:c:3", "1:2:p:3:4", "a:1", "1:-1", "4294967296:1", "1:2:c:3:4:5", " 1:2", "1:2\n"} {
		if o, ok := Parse(text); ok || o != (Owner{}) {
			t.Errorf("%q is read as %v", text, o)
		}
	}
}

func TestCapability(t *testing.T) {
	for _, o := range some[:5] {
		if got, ok := ParseCapability(o.EncodeCapability()); !ok || got != o {
			t.Errorf("%v is read as %v, %v", o, got, ok)
		}
	}
	all := "\x01\x00\x00\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\xff\x01\x00\x00" // every capability there is
	for _, value := range []string{"", "short", all, all + "\x00\x00\x00\x00"} {
		if o, ok := ParseCapability([]byte(value)); ok {
			t.Errorf("%q is read as %v", value, o)
		}
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	paths := map[string]func(string) error{
		"file": func(p string) error { return os.WriteFile(p, nil, 0o400) },
		"dir":  func(p string) error { return os.Mkdir(p, 0o1777) },
		"link": func(p string) error { return os.Symlink("nowhere", p) },
		"pipe": func(p string) error { return unix.Mkfifo(p, 0o600) },
	}
	for name, make := range paths {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			opened := fmt.Sprintf("/proc/self/fd/%d", fd)
			for _, o := range append(some[:5:5], Owner{}) {
				err := Set(path, false, o)
				if errors.Is(err, unix.EPERM) && (name == "link" || name == "pipe") {
					t.Skip("SKIPPED: needs root")
				}
				if err != nil {
					t.Fatal(err)
				}
				got, err := Get(path, false)
				again, err2 := Get(opened, true)
				if got != o || again != o || errors.Join(err, err2) != nil {
					t.Errorf("%v: read %v %v, %v %v", o, got, err, again, err2)
				}
			}
			if n, err := unix.Llistxattr(path, nil); n != 0 || err != nil {
				t.Errorf("of no owner there are attributes: %d bytes, %v", n, err)
			}
		})
	}
}

// A program keeps the capabilities it has.
func TestRealCapabilities(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ping")
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	value := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	if err := unix.Setxattr(path, Capability, []byte(value), 0); err != nil {
		t.Skipf("SKIPPED: needs root: %v", err)
	}
	for _, o := range []Owner{{UID: 5}, {}} {
		if err := Set(path, false, o); err != nil {
			t.Fatal(err)
		}
		if got, err := Get(path, false); got != o || err != nil {
			t.Errorf("%v: read %v, %v", o, got, err)
		}
		buf := make([]byte, 100)
		if n, err := unix.Getxattr(path, Capability, buf); err != nil || string(buf[:n]) != value {
			t.Errorf("%v: capabilities are %q, %v", o, buf[:max(n, 0)], err)
		}
	}
}
