//go:build !windows

package cache

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// private makes the directory of a store, unless it is there, and checks that
// nobody else may change it. An empty one is made so.
func private(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, not to %d, who builds; choose another folder with OCIBUILD_STORE", st.Uid, os.Geteuid())
	}
	if fi.Mode()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return os.Chmod(path, 0o700)
	}
	if fi.Mode()&0o022 != 0 {
		return errors.New("others may write to it; chmod go-w, if it can be trusted, or choose another folder with OCIBUILD_STORE")
	}
	return nil
}
