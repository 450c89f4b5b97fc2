package worker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
)

// ability is what the store's file system must support for the files of an image. try
// tries it in a directory that holds a file.
type ability struct {
	what string
	try  func(dir, file string) error
}

var abilities = []ability{
	{"symbolic links", func(dir, _ string) error { return os.Symlink("nowhere", filepath.Join(dir, "symlink")) }},
	{"hard links", func(dir, file string) error { return os.Link(file, filepath.Join(dir, "link")) }},
	{"file modes", func(_, file string) error {
		var st unix.Stat_t
		err := errors.Join(unix.Chmod(file, 0o4751), unix.Lstat(file, &st))
		if err == nil && st.Mode&0o7777 != 0o4751 {
			err = fmt.Errorf("a file of mode 4751 has %04o", st.Mode&0o7777)
		}
		return err
	}},
	{"names that differ in case only", func(dir, _ string) error { return os.Mkdir(filepath.Join(dir, "FILE"), 0o700) }},
}

// owners is not needed where the owners of files are stored in attributes.
var owners = ability{"file owners", func(_, file string) error {
	var st unix.Stat_t
	err := errors.Join(os.Lchown(file, 1, 2), unix.Lstat(file, &st))
	if err == nil && (st.Uid != 1 || st.Gid != 2) {
		err = errors.New("a file that is given to 1:2 belongs to somebody else")
	}
	return err
}}

// probeStore is probeFiles for a client, which may not change owners.
func probeStore(path string) error {
	dir, err := cache.OpenDir(path)
	if err != nil {
		return err
	}
	return probeFiles(dir, false)
}

// probeFiles checks that the store's file system supports the files of an image.
func probeFiles(store *cache.Dir, withOwners bool) error {
	dir, err := store.TempDir("files-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	all := abilities
	if withOwners {
		all = append([]ability{owners}, all...)
	}
	for _, a := range all {
		if err := a.try(dir, file); err != nil {
			why := strings.ReplaceAll(err.Error(), dir+"/", "") // which is gone when somebody reads it
			return fmt.Errorf("store %s: the file system does not support %s (%s): put the store on another one", store.Path(), a.what, why)
		}
	}
	return nil
}
