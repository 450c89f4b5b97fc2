package inroot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadFile(t *testing.T) {
	root, dir := hostile(t)
	image := filepath.Join(dir, "image")
	must(t, os.Symlink(dir+"/outside/secret", image+"/out"))
	must(t, os.WriteFile(image+"/large", make([]byte, 1<<20+1), 0o644))
	must(t, os.Truncate(image+"/large", 3<<30))
	must(t, os.WriteFile(image+"/fits", make([]byte, 1<<20), 0o644))
	for name, want := range map[string]string{
		"climb": "", "fits": "", "pipe": "not a regular file", "usr": "not a regular file", "large": "it exceeds 1 MiB",
		"out": unix.ENOENT.Error(), "a": unix.ELOOP.Error(), "no": unix.ENOENT.Error(),
	} {
		data, err := root.ReadFile(name, 1<<20)
		if want == "" && (err != nil || name == "climb" && string(data) != "of the image") || want != "" && (err == nil || err.Error() != "read "+name+" in the image: "+want) {
			t.Errorf("%s: %q, %v, want %q", name, data[:min(len(data), 20)], err, want)
		}
	}
}

// To open a device may already do something.
func TestDevicesAreNotRead(t *testing.T) {
	dev, err := OpenRoot("/dev", "/dev")
	must(t, err)
	defer dev.Close()
	for _, name := range []string{"zero", "tty", "stdin", "fd/0"} {
		if data, err := dev.ReadFile(name, 1<<20); err == nil {
			t.Errorf("%s: %d bytes", name, len(data))
		}
	}
}

func makeDir(dir int, base string) (int, error) {
	if err := unix.Mkdirat(dir, base, 0o755); err != nil {
		return -1, err
	}
	return unix.Openat(dir, base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func TestPlace(t *testing.T) {
	for name, want := range map[string]struct {
		at    string // of what is there or is to be made
		there bool
		made  string // of the directories above it, separated by spaces
		err   error
	}{
		"bin/sh":                      {at: "/usr/bin/sh", there: true},
		"/":                           {at: "/", there: true},
		"new":                         {at: "/new"},
		"../../new/":                  {at: "/new"},
		"bin/a/b/c":                   {at: "/usr/bin/a/b/c", made: "usr/bin/a usr/bin/a/b"},
		"dangling":                    {at: "/no/thing", made: "no"},
		"dangling/x":                  {at: "/no/thing/x", made: "no no/thing"},
		"abs/x":                       {at: "ABS/outside/x", made: "ABS"},
		"x/y/../../z":                 {at: "/z", made: "x x/y"},
		"x/..":                        {at: "/", there: true, made: "x"},
		"x/../x":                      {at: "/x", there: true, made: "x"},
		"deep/up/new":                 {at: "/outside/new"},
		"usr/bin/sh/x":                {err: unix.ENOTDIR},
		"pipe/x":                      {err: unix.ENOTDIR},
		"a/x":                         {err: unix.ELOOP},
		"":                            {err: unix.ENOENT},
		strings.Repeat("d/", 300):     {at: "/" + strings.TrimSuffix(strings.Repeat("d/", 300), "/"), made: "*"},
		strings.Repeat("x", 256):      {at: "/" + strings.Repeat("x", 256), err: unix.ENAMETOOLONG},
		"n/" + strings.Repeat("x", 9): {at: "/n/xxxxxxxxx", made: "n"},
	} {
		root, dir := hostile(t)
		var made []string
		p, err := root.Place(name, func(at int, base string) (int, error) {
			above, err := root.PathOf(at)
			must(t, err)
			made = append(made, strings.TrimPrefix(filepath.Join(above, base), "/"))
			return makeDir(at, base)
		})
		if want.err != nil {
			if !errors.Is(err, want.err) {
				t.Errorf("%q: %v, %v, want %v", name, p, err, want.err)
			}
			continue
		}
		must(t, err)
		fd := max(p.FD, p.Dir)
		at, err := root.PathOf(fd)
		must(t, err)
		unix.Close(fd)
		if there := p.FD >= 0; there != want.there {
			t.Errorf("%q: it is there: %v", name, there)
		} else if !there {
			at = filepath.Join(at, p.Base)
		}
		if want.at = strings.Replace(want.at, "ABS", dir, 1); at != want.at {
			t.Errorf("%q is to be at %s, want %s", name, at, want.at)
		}
		switch want.made {
		case "*":
		case "ABS":
			if last := made[len(made)-1]; last != strings.TrimPrefix(dir, "/")+"/outside" {
				t.Errorf("%q: made %v", name, made)
			}
		default:
			if got := strings.Join(made, " "); got != want.made {
				t.Errorf("%q: made %s, want %s", name, got, want.made)
			}
		}
	}
}

// Somebody else makes a directory between the look and the deed.
func TestPlaceWhereAnotherIsFaster(t *testing.T) {
	root, _ := hostile(t)
	p, err := root.Place("new/x", func(dir int, base string) (int, error) {
		must(t, unix.Mkdirat(dir, base, 0o755))
		return makeDir(dir, base)
	})
	must(t, err)
	defer unix.Close(p.Dir)
	if at, err := root.PathOf(p.Dir); err != nil || at != "/new" {
		t.Errorf("%s, %v", at, err)
	}
}
