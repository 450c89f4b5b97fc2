package filelock

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("FILELOCK_TEST"); dir != "" { // the other process of TestC4…
		s := In(dir)
		s.kind.Store(int32(len(os.Getenv("FILELOCK_KIND"))))
		if _, ok, err := s.Try("a"); err != nil || ok {
			os.Exit(1)
		}
		if _, ok, err := s.Try("b"); err != nil || !ok {
			os.Exit(2)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// Each kind of lock excludes goroutines and processes, and ends with unlock.
func TestC4EachKindOfLockExcludes(t *testing.T) {
	for i, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := In(t.TempDir())
			s.kind.Store(int32(i))
			unlock, ok, err := s.Try("a")
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			if _, ok, err := In(s.dir).tryAt(i, "a"); ok || err != nil {
				t.Error("taken twice", err)
			}
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "FILELOCK_TEST="+s.dir, "FILELOCK_KIND="+"xxx"[:i])
			if err := cmd.Run(); err != nil {
				t.Error("another process:", err)
			}
			unlock()
			if unlock, ok, err = s.Try("a"); !ok || err != nil {
				t.Fatal("not unlocked", ok, err)
			}
			unlock()
		})
	}
}

func (s *Set) tryAt(i int, name string) (func(), bool, error) {
	s.kind.Store(int32(i))
	return s.Try(name)
}

// A kind that is missing gives way to the next one, and the last error is clear.
func TestC4LocksFallBack(t *testing.T) {
	was := kinds
	defer func() { kinds = was }()
	lacks := func(err error) func(string, string) (func(), bool, error) {
		return func(string, string) (func(), bool, error) { return nil, false, err }
	}
	kinds = []kind{{"first", lacks(unix.EINVAL)}, {"second", lacks(unix.ENOSYS)}, was[2]}
	s := In(t.TempDir())
	if kind, err := s.Kind(); err != nil || kind != "POSIX" {
		t.Error(kind, err)
	}
	kinds = kinds[:2]
	if _, _, err := In(t.TempDir()).Try("a"); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	kinds = []kind{{"first", lacks(unix.EIO)}, was[0]}
	if _, _, err := In(t.TempDir()).Try("a"); !errors.Is(err, unix.EIO) {
		t.Error("an error that says nothing about the kind:", err)
	}
}

// A folder is locked where only its files can be.
func TestC4FoldersAreLockedByAFile(t *testing.T) {
	missing := func(int, int) error { return unix.EBADF }
	for _, tt := range []struct {
		name      string
		dir, file func(int, int) error
	}{{"flock", unix.Flock, unix.Flock}, {"file", missing, unix.Flock}, {"POSIX", missing, missing}} {
		t.Run(tt.name, func(t *testing.T) {
			flockDir, flockFile = tt.dir, tt.file
			defer func() { flockDir, flockFile = unix.Flock, unix.Flock }()
			path := filepath.Join(t.TempDir(), "d")
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			a, b := lock(t, path, true), lock(t, path, true)
			if a == nil || b == nil || lock(t, path, false) != nil {
				t.Fatal("not shared, or not locked", a, b)
			}
			a.Close()
			if lock(t, path, false) != nil {
				t.Fatal("the other one still has it")
			}
			b.Close()
			if c := lock(t, path, false); c == nil || lock(t, path, true) != nil {
				t.Fatal("not exclusive")
			} else {
				c.Close()
			}
		})
	}
}

func lock(t *testing.T, path string, shared bool) *Dir {
	t.Helper()
	d, err := LockDir(path, shared)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
