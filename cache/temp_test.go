package cache

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// die makes a Dir look as if its process had ended: its locks end with it.
func (d *Dir) die() { d.temp.unlock() }

func TestTemporaryFilesOfTheDeadAreRemoved(t *testing.T) {
	path := t.TempDir()
	open := func() *Dir {
		d, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	leave := func(d *Dir) []string {
		f, err := d.TempFile("layer-*")
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		dir, err := d.TempDir("load-*")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "member"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{f.Name(), dir}
	}
	there := func(want bool, paths []string) {
		t.Helper()
		for _, p := range paths {
			if _, err := os.Lstat(p); (err == nil) != want {
				t.Errorf("%s: %v; is it to be there: %v", p, err, want)
			}
		}
	}
	trees := filepath.Join(path, "tmp", "trees-1")
	first, second := open(), open()
	of1, of2 := leave(first), leave(second)
	if err := os.Mkdir(trees, 0o700); err != nil { // which has a lock of its own
		t.Fatal(err)
	}
	there(true, append(of1, of2...))
	first.die()
	open()
	there(false, of1)
	there(true, append(of2, trees))
	// Whoever is next has the number of the first one, and nothing of what it left.
	third := open()
	of3 := leave(third)
	third.die()
	fourth := open()
	there(false, of3)
	of4 := leave(fourth)
	there(true, append(of4, of2...))
	if filepath.Base(of4[0])[0] != filepath.Base(of1[0])[0] {
		t.Errorf("the number of the dead is not used again: %s after %s", of4[0], of1[0])
	}
	// What is left after a store was opened is not taken over with the number.
	fifth := open()
	second.die()
	fourth.die()
	of5 := leave(fifth)
	there(false, of4)
	there(true, of5)
	runtime.KeepAlive(fifth)
}
