package notify

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// calls386 are those of programs for 32-bit x86, which this processor runs, too.
// Calls for ids of 16 bits do not exist: nobody has used them for twenty years.
var calls386 = []call{
	{number: 383, handle: (*supervisor).statx},
	{number: 195, handle: func(s *supervisor) reply { return s.stat64(unix.AT_FDCWD, s.req.args[0], s.req.args[1], 0) }},
	{number: 196, handle: func(s *supervisor) reply {
		return s.stat64(unix.AT_FDCWD, s.req.args[0], s.req.args[1], unix.AT_SYMLINK_NOFOLLOW)
	}},
	{number: 197, handle: func(s *supervisor) reply { return s.stat64(s.fd(0), 0, s.req.args[1], unix.AT_EMPTY_PATH) }},
	{number: 300, handle: func(s *supervisor) reply { return s.stat64(s.fd(0), s.req.args[1], s.req.args[2], s.flags(3)) }},

	{number: 212, handle: func(s *supervisor) reply { return s.chown(unix.AT_FDCWD, s.req.args[0], s.id(1), s.id(2), 0) }},
	{number: 198, handle: func(s *supervisor) reply {
		return s.chown(unix.AT_FDCWD, s.req.args[0], s.id(1), s.id(2), unix.AT_SYMLINK_NOFOLLOW)
	}},
	{number: 207, handle: everywhere(unix.SYS_FCHOWN)},
	{number: 298, handle: everywhere(unix.SYS_FCHOWNAT)},

	{number: 5, only: creating(1), handle: older(unix.SYS_OPEN)},
	{number: 8, handle: older(unix.SYS_CREAT)},
	{number: 295, only: creating(2), handle: everywhere(unix.SYS_OPENAT)},
	{number: 437, handle: (*supervisor).openat2},
	{number: 39, handle: older(unix.SYS_MKDIR)},
	{number: 296, handle: everywhere(unix.SYS_MKDIRAT)},
	{number: 14, handle: older(unix.SYS_MKNOD)},
	{number: 297, handle: everywhere(unix.SYS_MKNODAT)},
	{number: 83, handle: older(unix.SYS_SYMLINK)},
	{number: 304, handle: everywhere(unix.SYS_SYMLINKAT)},

	{number: 213, handle: everywhere(unix.SYS_SETUID)},
	{number: 214, handle: everywhere(unix.SYS_SETGID)},
	{number: 203, handle: everywhere(unix.SYS_SETREUID)},
	{number: 204, handle: everywhere(unix.SYS_SETREGID)},
	{number: 208, handle: everywhere(unix.SYS_SETRESUID)},
	{number: 210, handle: everywhere(unix.SYS_SETRESGID)},
	{number: 215, handle: everywhere(unix.SYS_SETFSUID)},
	{number: 216, handle: everywhere(unix.SYS_SETFSGID)},
	{number: 206, handle: (*supervisor).setGroups},
	{number: 199, handle: everywhere(unix.SYS_GETUID)},
	{number: 200, handle: everywhere(unix.SYS_GETGID)},
	{number: 201, handle: everywhere(unix.SYS_GETEUID)},
	{number: 202, handle: everywhere(unix.SYS_GETEGID)},
	{number: 209, handle: everywhere(unix.SYS_GETRESUID)},
	{number: 211, handle: everywhere(unix.SYS_GETRESGID)},
	{number: 205, handle: (*supervisor).getGroups},

	{number: 11, handle: everywhere(unix.SYS_EXECVE)},
	{number: 358, handle: everywhere(unix.SYS_EXECVEAT)},
	{number: 172, only: []condition{{0, unix.BPF_JEQ, unix.PR_SET_KEEPCAPS}}, handle: (*supervisor).keepCapabilities},
	{number: 172, only: []condition{{0, unix.BPF_JEQ, unix.PR_SET_SECUREBITS}}, handle: (*supervisor).keepCapabilities},
	{number: 365, only: []condition{{1, unix.BPF_JEQ, unix.SOL_SOCKET}, {2, unix.BPF_JEQ, unix.SO_PEERCRED}}, handle: (*supervisor).peer},

	{number: 232, handle: everywhere(unix.SYS_LISTXATTR)},
	{number: 233, handle: everywhere(unix.SYS_LLISTXATTR)},
	{number: 234, handle: everywhere(unix.SYS_FLISTXATTR)},
	{number: 465, errno: unix.ENOSYS}, // listxattrat

	{number: 61, handle: (*supervisor).move},  // chroot
	{number: 217, handle: (*supervisor).move}, // pivot_root
	{number: 346, handle: (*supervisor).move}, // setns
	{number: 310, handle: (*supervisor).move}, // unshare

	{number: 75, only: []condition{{0, unix.BPF_JEQ, unix.RLIMIT_LOCKS}}},                                  // setrlimit
	{number: 340, only: []condition{{1, unix.BPF_JEQ, unix.RLIMIT_LOCKS}, {2, unix.BPF_JSET, ^uint32(0)}}}, // prlimit64

	{number: 425, errno: unix.ENOSYS}, {number: 426, errno: unix.ENOSYS}, {number: 427, errno: unix.ENOSYS}, // io_uring

	// chown, setuid and so on of 16 bits
	{number: 182, errno: unix.ENOSYS}, {number: 16, errno: unix.ENOSYS}, {number: 95, errno: unix.ENOSYS},
	{number: 23, errno: unix.ENOSYS}, {number: 46, errno: unix.ENOSYS}, {number: 70, errno: unix.ENOSYS},
	{number: 71, errno: unix.ENOSYS}, {number: 138, errno: unix.ENOSYS}, {number: 139, errno: unix.ENOSYS},
	{number: 164, errno: unix.ENOSYS}, {number: 165, errno: unix.ENOSYS}, {number: 170, errno: unix.ENOSYS},
	{number: 171, errno: unix.ENOSYS}, {number: 80, errno: unix.ENOSYS}, {number: 81, errno: unix.ENOSYS},
	{number: 24, errno: unix.ENOSYS}, {number: 47, errno: unix.ENOSYS}, {number: 49, errno: unix.ENOSYS}, {number: 50, errno: unix.ENOSYS},
}

// everywhere and older take what answers the same call of 64 bits.
func everywhere(number uintptr) func(*supervisor) reply { return handlerOf(everyCall, number) }
func older(number uintptr) func(*supervisor) reply      { return handlerOf(olderCalls, number) }

func handlerOf(calls []call, number uintptr) func(*supervisor) reply {
	for _, c := range calls {
		if c.number == number {
			return c.handle
		}
	}
	panic("no such call in the table")
}

// stat64 is stat with 32-bit x86's struct stat64.
func (s *supervisor) stat64(dir int, name, to uint64, flags int) reply {
	return s.statAs(dir, name, to, flags, func(st *unix.Stat_t) []byte {
		b := make([]byte, 0, 96)
		u32 := func(v ...uint64) {
			for _, n := range v {
				b = binary.LittleEndian.AppendUint32(b, uint32(n))
			}
		}
		u64 := func(v uint64) { b = binary.LittleEndian.AppendUint64(b, v) }
		u64(st.Dev)
		u32(0, st.Ino, uint64(st.Mode), st.Nlink, uint64(st.Uid), uint64(st.Gid))
		u64(st.Rdev)
		u32(0)
		u64(uint64(st.Size))
		u32(uint64(st.Blksize))
		u64(uint64(st.Blocks))
		for _, t := range []unix.Timespec{st.Atim, st.Mtim, st.Ctim} {
			u32(uint64(t.Sec), uint64(t.Nsec))
		}
		u64(st.Ino)
		return b
	})
}
