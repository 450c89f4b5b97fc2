package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// DefaultDir returns where the local store of this user lies:
// $OCIBUILD_STORE, else /var/lib/ocibuild for root, else "ocibuild" in
// $XDG_DATA_HOME or the platform's place for a user's data. Where nothing can be
// written there, as in a container whose files are read-only, it is a directory
// of the user's among the system's temporary files, and notice says why.
func DefaultDir() (path, notice string, err error) {
	if p := os.Getenv("OCIBUILD_STORE"); p != "" {
		path, err = filepath.Abs(p)
		return path, "", err
	}
	usual, why := usualDir()
	if why == nil {
		if why = writable(usual); why == nil {
			return usual, "", nil
		}
	}
	path = filepath.Join(os.TempDir(), fmt.Sprintf("ocibuild-%d", os.Getuid()))
	if err := writable(path); err != nil {
		return "", "", fmt.Errorf("no place for the store: %w; name one with OCIBUILD_STORE", errors.Join(why, err))
	}
	return path, fmt.Sprintf("the store is %s, which may not last: %v; OCIBUILD_STORE names a better place", path, why), nil
}

func usualDir() (string, error) {
	if runtime.GOOS == "linux" && os.Getuid() == 0 {
		return "/var/lib/ocibuild", nil
	}
	if p := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(p) {
		return filepath.Join(p, "ocibuild"), nil
	}
	if home, err := os.UserHomeDir(); err == nil && runtime.GOOS != "windows" {
		return filepath.Join(home, ".local", "share", "ocibuild"), nil
	}
	p, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(p, "ocibuild"), nil
}

// writable makes a directory and sees whether it can be changed. A store that
// belongs to somebody else is no reason to take another one: OpenDir refuses it.
func writable(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	now := time.Now()
	err := os.Chtimes(path, now, now)
	if errors.Is(err, os.ErrPermission) {
		return nil
	}
	return err
}
