package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
)

// fileSystems are those on which stores are likely to lie, by their number.
var fileSystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.F2FS_SUPER_MAGIC: "f2fs", unix.FUSE_SUPER_MAGIC: "fuse",
	unix.V9FS_MAGIC: "9p", 0x2fc12fc1: "zfs", 0xff534d42: "cifs",
}

// look finds out what the store lies on.
func (s *Store) look() {
	var st unix.Statfs_t
	if err := unix.Statfs(s.Path, &st); err != nil {
		s.Error = fmt.Sprintf("%s: %v", s.Path, err)
		return
	}
	s.FileSystem = fileSystems[int64(st.Type)]
	if s.FileSystem == "" {
		s.FileSystem = fmt.Sprintf("number %#x", st.Type)
	}
	s.Free = int64(st.Bavail) * int64(st.Bsize)
	var flags []string
	for _, f := range []struct {
		bit  int64
		name string
	}{{unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"}, {unix.ST_NOSUID, "nosuid"}} {
		if int64(st.Flags)&f.bit != 0 {
			flags = append(flags, f.name)
		}
	}
	s.Flags = strings.Join(flags, ", ")
}

// registered are the architectures whose programs binfmt_misc runs for every
// process, also for one with another root: those with the flag F.
func registered() []string {
	entries, err := os.ReadDir(binfmtMisc)
	if err != nil {
		return nil
	}
	var all []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(binfmtMisc, e.Name()))
		if err != nil {
			continue // it may be gone
		}
		if arch := binfmt.Recognised(string(data)); arch != "" {
			all = append(all, arch)
		}
	}
	return all
}

const binfmtMisc = "/proc/sys/fs/binfmt_misc"
