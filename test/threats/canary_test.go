//go:build linux

package threats

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// secret is what the canary's secret file holds. It may turn up nowhere.
const secret = "S3CR3T-of-the-host-7b0e1c52"

// canary is a tree of the host that no build has any business with. Whatever
// is done to it shows: a change of anything moves a file's ctime.
type canary struct {
	t      *testing.T
	dir    string
	before map[string]string
}

func newCanary(t *testing.T, dir string) *canary {
	t.Helper()
	for _, d := range []string{"", "dir", "full"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for name, data := range map[string]string{"secret": secret, "victim-empty": "", "victim-full": "full", "full/file": "x"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644))
	}
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o644))
	c := &canary{t: t, dir: dir}
	c.before = c.look()
	return c
}

// look describes every file by what no attack can change unseen.
func (c *canary) look() map[string]string {
	c.t.Helper()
	seen := map[string]string{}
	must(c.t, filepath.WalkDir(c.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		name, _ := filepath.Rel(c.dir, path)
		seen[name] = fmt.Sprintf("mode %o owner %d:%d links %d size %d inode %d changed %d.%09d",
			st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Ino, st.Ctim.Sec, st.Ctim.Nsec)
		return nil
	}))
	return seen
}

// untouched wants everything as it was.
func (c *canary) untouched() {
	c.t.Helper()
	after := c.look()
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if c.before[name] == "" {
			c.t.Errorf("on the host, %s was made: %s", name, after[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.before)) {
		if after[name] != c.before[name] {
			c.t.Errorf("on the host, %s was changed:\n  %s\n  %s", name, c.before[name], after[name])
		}
	}
}

// nothingLeft wants no process of ours, no mount and no temporary file below dir.
func nothingLeft(t *testing.T, dir string, temporary ...string) {
	t.Helper()
	for _, tmp := range temporary {
		entries, err := os.ReadDir(tmp)
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		for _, e := range entries {
			t.Errorf("a temporary file is left: %s", filepath.Join(tmp, e.Name()))
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			t.Errorf("a mount is left: %s", line)
		}
	}
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, task := range tasks {
		if children, err := os.ReadFile(task); err == nil && len(children) > 0 {
			t.Errorf("processes are left: %s", children)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
