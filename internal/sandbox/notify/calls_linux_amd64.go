package notify

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Numbers from 0x40000000 on are those of the x32 interface.
var abis = []abi{
	{audit: unix.AUDIT_ARCH_X86_64, foreign: 0x40000000, calls: slices.Concat(everyCall, olderCalls)},
	{audit: unix.AUDIT_ARCH_I386, calls: calls386},
}

// olderCalls are those that newer processors do without.
var olderCalls = []call{
	{number: unix.SYS_STAT, handle: func(s *supervisor) reply { return s.stat(unix.AT_FDCWD, s.req.args[0], s.req.args[1], 0) }},
	{number: unix.SYS_LSTAT, handle: func(s *supervisor) reply {
		return s.stat(unix.AT_FDCWD, s.req.args[0], s.req.args[1], unix.AT_SYMLINK_NOFOLLOW)
	}},
	{number: unix.SYS_CHOWN, handle: func(s *supervisor) reply { return s.chown(unix.AT_FDCWD, s.req.args[0], s.id(1), s.id(2), 0) }},
	{number: unix.SYS_LCHOWN, handle: func(s *supervisor) reply {
		return s.chown(unix.AT_FDCWD, s.req.args[0], s.id(1), s.id(2), unix.AT_SYMLINK_NOFOLLOW)
	}},
	{number: unix.SYS_OPEN, only: creating(1), handle: func(s *supervisor) reply {
		return s.open(unix.AT_FDCWD, s.req.args[0], unix.OpenHow{Flags: uint64(uint32(s.req.args[1])), Mode: s.req.args[2] & 0o7777})
	}},
	{number: unix.SYS_CREAT, handle: func(s *supervisor) reply {
		return s.open(unix.AT_FDCWD, s.req.args[0], unix.OpenHow{Flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, Mode: s.req.args[1] & 0o7777})
	}},
	{number: unix.SYS_MKDIR, handle: func(s *supervisor) reply { return s.mkdir(unix.AT_FDCWD, s.req.args[0], s.mode(1)) }},
	{number: unix.SYS_MKNOD, handle: func(s *supervisor) reply {
		return s.mknod(unix.AT_FDCWD, s.req.args[0], s.mode(1), s.req.args[2])
	}},
	{number: unix.SYS_SYMLINK, handle: func(s *supervisor) reply { return s.symlink(s.req.args[0], unix.AT_FDCWD, s.req.args[1]) }},
}

// procABIs leave programs for 32 bits alone.
var procABIs = []abi{
	{audit: unix.AUDIT_ARCH_X86_64, foreign: 0x40000000, calls: slices.Concat(procCalls, olderProcCalls)},
	{audit: unix.AUDIT_ARCH_I386},
}

// olderProcCalls are those of procCalls that newer processors do without.
var olderProcCalls = []call{
	{number: unix.SYS_OPEN, handle: func(s *supervisor) reply {
		return s.procOpen(unix.AT_FDCWD, s.req.args[0], int(uint32(s.req.args[1])), uint32(s.req.args[2]))
	}},
	{number: unix.SYS_CREAT, handle: func(s *supervisor) reply {
		return s.procOpen(unix.AT_FDCWD, s.req.args[0], unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, uint32(s.req.args[1]))
	}},
	{number: unix.SYS_READLINK, handle: func(s *supervisor) reply {
		return s.procReadlink(unix.AT_FDCWD, s.req.args[0], s.req.args[1], s.req.args[2])
	}},
	{number: unix.SYS_STAT, handle: func(s *supervisor) reply {
		return s.procStat(unix.AT_FDCWD, s.req.args[0], s.req.args[1], 0)
	}},
	{number: unix.SYS_LSTAT, handle: func(s *supervisor) reply {
		return s.procStat(unix.AT_FDCWD, s.req.args[0], s.req.args[1], unix.AT_SYMLINK_NOFOLLOW)
	}},
	{number: unix.SYS_ACCESS, handle: func(s *supervisor) reply {
		return s.procAccess(unix.AT_FDCWD, s.req.args[0], s.mode(1), 0)
	}},
	{number: unix.SYS_CHMOD, handle: func(s *supervisor) reply {
		return s.procChmod(unix.AT_FDCWD, s.req.args[0], s.mode(1))
	}},
	{number: unix.SYS_CHOWN, handle: func(s *supervisor) reply {
		return s.procChown(unix.AT_FDCWD, s.req.args[0], s.id(1), s.id(2), 0)
	}},
}
