package inroot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/layer"
)

// FuzzLookUp makes a tree and looks for a path in it in three ways: as the kernel
// does, step by step, and as the tables of contents of layers are searched. The
// first two are the same in everything; the third leads where they lead. A tree
// is a line for each of its files: "name/" is a directory, "name>text" a link,
// and "name" a regular file.
func FuzzLookUp(f *testing.F) {
	const tree = "usr/bin/sh\nbin>/usr/bin\nup>../../../..\na>b\nb>a\ndot>.\nslash>usr/\nfile>bin/sh\nd/in>../bin/../..\nd/self>/d/self/x\nlong>./usr/./bin//"
	for _, name := range []string{"bin/sh", "/bin/../bin/./sh", "up/up/up", "a", "a/b", "../../x", "", ".", "usr//bin/", "d/in/bin/sh/", "d/self", "slash/.", "file/", "file/..", "dot/dot/dot/long/sh", "no/../bin", "..//.."} {
		f.Add(tree, name, uint8(0))
		f.Add(tree, name, uint8(1))
	}
	f.Fuzz(func(t *testing.T, tree, name string, flags uint8) {
		if len(tree) > 500 || strings.Contains(name, "\x00") {
			return
		}
		dir := t.TempDir()
		files := plant(dir, tree)
		root, err := OpenRoot(dir, "the tree")
		must(t, err)
		defer root.Close()
		for _, rule := range []Rule{Within, Plain} {
			how := unix.O_PATH
			for i, flag := range []int{unix.O_NOFOLLOW, unix.O_DIRECTORY} {
				if flags&(1<<i) != 0 {
					how |= flag
				}
			}
			kernel := led(t, root, func() (int, error) { return Open(root.fd, name, how, rule) })
			steps := led(t, root, func() (int, error) { return stepwise(root.fd, name, how, rule, nil) })
			if fmt.Sprint(kernel) != fmt.Sprint(steps) {
				t.Fatalf("%q leads to %v, step by step to %v", name, kernel, steps)
			}
			at, found := kernel.(string)
			if !found || rule != Within {
				continue
			}
			// The kernel takes a link for what it leads to if anything stands behind it.
			last := how&unix.O_NOFOLLOW == 0 || strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.")
			to, err := layer.Resolve(t.Context(), files, name, last)
			if err != nil || path.Join("/", to) != at {
				t.Fatalf("%q leads to %v, in a table of contents to %q, %v", name, at, to, err)
			}
		}
	})
}

// table is a tree as a table of contents has it.
type table map[string]layer.Entry

func (f table) Lookup(_ context.Context, name string) (layer.Entry, error) {
	if e, ok := f[name]; ok {
		return e, nil
	}
	return layer.Entry{}, fs.ErrNotExist
}

// plant makes what it can of a tree.
func plant(dir, tree string) table {
	made := table{}
	for line := range strings.Lines(tree) {
		line = strings.TrimSuffix(line, "\n")
		name, text, link := strings.Cut(line, ">")
		key := strings.TrimPrefix(path.Join("/", name), "/")
		if key == "" || !plain(made, path.Dir(key)) {
			continue
		}
		at := filepath.Join(dir, key)
		if os.MkdirAll(filepath.Dir(at), 0o755) != nil {
			continue
		}
		e := layer.Entry{Name: key, Type: layer.Regular}
		var err error
		switch {
		case link:
			e.Type, e.Linkname = layer.Symlink, text
			err = os.Symlink(text, at)
		case strings.HasSuffix(name, "/"):
			e.Type = layer.Directory
			err = os.Mkdir(at, 0o755)
		default:
			var f *os.File
			if f, err = os.OpenFile(at, os.O_CREATE|os.O_EXCL, 0o644); err == nil {
				f.Close()
			}
		}
		if err == nil {
			made[key] = e
		}
	}
	return made
}

// plain tells that no link is above a file.
func plain(made table, dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if e, err := made.Lookup(context.Background(), dir); !errors.Is(err, fs.ErrNotExist) && e.Type != layer.Directory {
			return false
		}
	}
	return true
}
