package notify

import "golang.org/x/sys/unix"

// everyCall are the calls that all processors have. The arguments of the
// handlers are those of the calls.
var everyCall = []call{
	{number: unix.SYS_STATX, handle: (*supervisor).statx},
	{number: unix.SYS_FSTAT, handle: func(s *supervisor) reply { return s.stat(s.fd(0), 0, s.req.args[1], unix.AT_EMPTY_PATH) }},
	{number: sysFstatat, handle: func(s *supervisor) reply {
		return s.stat(s.fd(0), s.req.args[1], s.req.args[2], s.flags(3))
	}},

	{number: unix.SYS_FCHOWN, handle: func(s *supervisor) reply { return s.chown(s.fd(0), 0, s.id(1), s.id(2), unix.AT_EMPTY_PATH) }},
	{number: unix.SYS_FCHOWNAT, handle: func(s *supervisor) reply {
		return s.chown(s.fd(0), s.req.args[1], s.id(2), s.id(3), s.flags(4))
	}},

	{number: unix.SYS_OPENAT, only: creating(2), handle: func(s *supervisor) reply {
		return s.open(s.fd(0), s.req.args[1], unix.OpenHow{Flags: uint64(uint32(s.req.args[2])), Mode: s.req.args[3] & 0o7777})
	}},
	{number: unix.SYS_OPENAT2, handle: (*supervisor).openat2},
	{number: unix.SYS_MKDIRAT, handle: func(s *supervisor) reply { return s.mkdir(s.fd(0), s.req.args[1], s.mode(2)) }},
	{number: unix.SYS_MKNODAT, handle: func(s *supervisor) reply {
		return s.mknod(s.fd(0), s.req.args[1], s.mode(2), s.req.args[3])
	}},
	{number: unix.SYS_SYMLINKAT, handle: func(s *supervisor) reply { return s.symlink(s.req.args[0], s.fd(1), s.req.args[2]) }},

	{number: unix.SYS_SETUID, handle: func(s *supervisor) reply {
		return s.set(func(id *identity) unix.Errno { return id.setOne(users, s.id(0)) })
	}},
	{number: unix.SYS_SETGID, handle: func(s *supervisor) reply {
		return s.set(func(id *identity) unix.Errno { return id.setOne(groups, s.id(0)) })
	}},
	{number: unix.SYS_SETREUID, handle: func(s *supervisor) reply {
		return s.set(func(id *identity) unix.Errno { return id.setTwo(users, s.id(0), s.id(1)) })
	}},
	{number: unix.SYS_SETREGID, handle: func(s *supervisor) reply {
		return s.set(func(id *identity) unix.Errno { return id.setTwo(groups, s.id(0), s.id(1)) })
	}},
	{number: unix.SYS_SETRESUID, handle: func(s *supervisor) reply {
		return s.set(func(id *identity) unix.Errno { return id.setThree(users, s.id(0), s.id(1), s.id(2)) })
	}},
	{number: unix.SYS_SETRESGID, handle: func(s *supervisor) reply {
		return s.set(func(id *identity) unix.Errno { return id.setThree(groups, s.id(0), s.id(1), s.id(2)) })
	}},
	{number: unix.SYS_SETFSUID, handle: func(s *supervisor) reply { return s.setFS(users) }},
	{number: unix.SYS_SETFSGID, handle: func(s *supervisor) reply { return s.setFS(groups) }},
	{number: unix.SYS_SETGROUPS, handle: (*supervisor).setGroups},
	{number: unix.SYS_GETUID, handle: func(s *supervisor) reply { return value(s.identity().user.real) }},
	{number: unix.SYS_GETGID, handle: func(s *supervisor) reply { return value(s.identity().group.real) }},
	{number: unix.SYS_GETEUID, handle: func(s *supervisor) reply { return value(s.identity().user.effective) }},
	{number: unix.SYS_GETEGID, handle: func(s *supervisor) reply { return value(s.identity().group.effective) }},
	{number: unix.SYS_GETRESUID, handle: func(s *supervisor) reply { return s.getThree(users) }},
	{number: unix.SYS_GETRESGID, handle: func(s *supervisor) reply { return s.getThree(groups) }},
	{number: unix.SYS_GETGROUPS, handle: (*supervisor).getGroups},

	{number: unix.SYS_EXECVE, handle: func(s *supervisor) reply { return s.exec(unix.AT_FDCWD, s.req.args[0], 0) }},
	{number: unix.SYS_EXECVEAT, handle: func(s *supervisor) reply { return s.exec(s.fd(0), s.req.args[1], s.flags(4)) }},
	{number: unix.SYS_PRCTL, only: []condition{{0, unix.BPF_JEQ, unix.PR_SET_KEEPCAPS}}, handle: (*supervisor).keepCapabilities},
	{number: unix.SYS_PRCTL, only: []condition{{0, unix.BPF_JEQ, unix.PR_SET_SECUREBITS}}, handle: (*supervisor).keepCapabilities},
	{number: unix.SYS_GETSOCKOPT, only: []condition{{1, unix.BPF_JEQ, unix.SOL_SOCKET}, {2, unix.BPF_JEQ, unix.SO_PEERCRED}},
		handle: (*supervisor).peer},

	{number: unix.SYS_LISTXATTR, handle: func(s *supervisor) reply { return s.list(unix.AT_FDCWD, s.req.args[0], 0) }},
	{number: unix.SYS_LLISTXATTR, handle: func(s *supervisor) reply {
		return s.list(unix.AT_FDCWD, s.req.args[0], unix.AT_SYMLINK_NOFOLLOW)
	}},
	{number: unix.SYS_FLISTXATTR, handle: func(s *supervisor) reply { return s.list(s.fd(0), 0, unix.AT_EMPTY_PATH) }},
	{number: unix.SYS_LISTXATTRAT, errno: unix.ENOSYS},

	{number: unix.SYS_CHROOT, handle: (*supervisor).move},
	{number: unix.SYS_PIVOT_ROOT, handle: (*supervisor).move},
	{number: unix.SYS_SETNS, handle: (*supervisor).move},
	{number: unix.SYS_UNSHARE, handle: (*supervisor).move},

	// The identity is there.
	{number: sysSetrlimit, only: []condition{{0, unix.BPF_JEQ, unix.RLIMIT_LOCKS}}},
	{number: unix.SYS_PRLIMIT64, only: []condition{{1, unix.BPF_JEQ, unix.RLIMIT_LOCKS}, {2, unix.BPF_JSET, ^uint32(0)}}},

	// It does what the calls above do, unasked.
	{number: unix.SYS_IO_URING_SETUP, errno: unix.ENOSYS},
	{number: unix.SYS_IO_URING_ENTER, errno: unix.ENOSYS},
	{number: unix.SYS_IO_URING_REGISTER, errno: unix.ENOSYS},
}

// anonymous is O_TMPFILE without the bit of O_DIRECTORY in it.
const anonymous = unix.O_TMPFILE &^ unix.O_DIRECTORY

// creating tells from the flags of an open whether it may make a file.
func creating(arg uint32) []condition {
	return []condition{{arg, unix.BPF_JSET, unix.O_CREAT | anonymous}}
}
