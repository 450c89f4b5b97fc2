package notify

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"
)

// The rules of this file are those of the kernel (kernel/sys.c, setuid(2),
// setreuid(2), setresuid(2), setfsuid(2)), where root stands for the capability.

// keep as an argument leaves an id as it is.
const keep = ^uint32(0)

// kind picks the user or the group ids.
type kind = func(*identity) *ids

func (id *identity) setOne(of kind, to uint32) unix.Errno {
	i := of(id)
	switch {
	case to == keep:
		return unix.EINVAL
	case id.root():
		*i = ids{to, to, to, to}
	case to == i.real || to == i.saved:
		i.effective, i.fs = to, to
	default:
		return unix.EPERM
	}
	return 0
}

func (id *identity) setTwo(of kind, r, e uint32) unix.Errno {
	i := of(id)
	was := *i
	if !id.root() && (!among(r, was.real, was.effective) || !among(e, was.real, was.effective, was.saved)) {
		return unix.EPERM
	}
	change(&i.real, r)
	change(&i.effective, e)
	if r != keep || e != keep && e != was.real {
		i.saved = i.effective
	}
	i.fs = i.effective
	return 0
}

func (id *identity) setThree(of kind, r, e, saved uint32) unix.Errno {
	i := of(id)
	if among(r, i.real) && among(e, i.effective) && (e == keep || e == i.fs) && among(saved, i.saved) {
		return 0 // leaves even the last id, of files, as it is (Linux 6.1)
	}
	for _, to := range []uint32{r, e, saved} {
		if !id.root() && !among(to, i.real, i.effective, i.saved) {
			return unix.EPERM
		}
	}
	change(&i.real, r)
	change(&i.effective, e)
	change(&i.saved, saved)
	i.fs = i.effective
	return 0
}

func (id *identity) setFS(of kind, to uint32) {
	i := of(id)
	if to != keep && (id.root() || among(to, i.real, i.effective, i.saved, i.fs)) {
		i.fs = to
	}
}

func among(to uint32, allowed ...uint32) bool { return to == keep || slices.Contains(allowed, to) }

func change(id *uint32, to uint32) {
	if to != keep {
		*id = to
	}
}

// set changes the identity of the calling process, unless the change is refused.
func (s *supervisor) set(change func(*identity) unix.Errno) reply {
	id := s.identity().clone()
	was := id.user
	if errno := change(id); errno != 0 {
		return reply{errno: errno}
	}
	id.adjust(was)
	return s.become(id)
}

// adjust takes rights away and gives them back after a change of user ids, as
// capabilities(7) has it. A process that keeps them has to raise them again when
// it has become another user; we take that for done.
func (id *identity) adjust(was ids) {
	now := id.user
	if was.root() && !now.root() && !id.keeping {
		id.lost = true
	}
	switch {
	case now.effective == 0:
		id.lowered = false
	case was.effective == 0:
		id.lowered = !id.keeping
	}
	id.lowered = id.lowered || id.lost
}

// root tells whether one of the ids that count is root's.
func (i ids) root() bool { return i.real == 0 || i.effective == 0 || i.saved == 0 }

// setFS answers with the former id, whether it changes it or not.
func (s *supervisor) setFS(of kind) reply {
	was := of(s.identity()).fs
	r := s.set(func(id *identity) unix.Errno { id.setFS(of, s.id(0)); return 0 })
	r.value = int64(was)
	return r
}

func (s *supervisor) getThree(of kind) reply {
	i := of(s.identity())
	for n, v := range []uint32{i.real, i.effective, i.saved} {
		if err := s.write(s.req.args[n], bytesOf(&v)); err != nil {
			return failed(err)
		}
	}
	return reply{}
}

// maxGroups is NGROUPS_MAX.
const maxGroups = 65536

func (s *supervisor) setGroups() reply {
	n := int(int32(s.req.args[0]))
	return s.set(func(id *identity) unix.Errno {
		switch {
		case !id.root():
			return unix.EPERM
		case n < 0 || n > maxGroups:
			return unix.EINVAL
		}
		id.groups = nil
		list := make([]byte, 4*n)
		if n > 0 && s.readAll(list, s.req.args[1]) != nil {
			return unix.EFAULT
		}
		for i := range n {
			id.groups = append(id.groups, binary.NativeEndian.Uint32(list[4*i:]))
		}
		slices.Sort(id.groups) // as the kernel does
		return 0
	})
}

func (s *supervisor) getGroups() reply {
	list := s.identity().groups
	size := int(int32(s.req.args[0]))
	switch {
	case size == 0:
		return reply{value: int64(len(list))}
	case size < len(list):
		return reply{errno: unix.EINVAL}
	}
	var data []byte
	for _, g := range list {
		data = append(data, bytesOf(&g)...)
	}
	if err := s.write(s.req.args[1], data); err != nil {
		return failed(err)
	}
	return reply{value: int64(len(list))}
}

// keepCapabilities is told before a process says whether it will keep its
// capabilities.
func (s *supervisor) keepCapabilities() reply {
	id := s.identity().clone()
	id.keeping = s.req.args[1] != 0
	if s.req.args[0] == unix.PR_SET_SECUREBITS {
		id.keeping = s.req.args[1]&(secureKeep|secureNoFixup) != 0
	}
	if r := s.become(id); r.errno != 0 {
		return r
	}
	return natural
}

// Bits of PR_SET_SECUREBITS, as linux/securebits.h has them.
const (
	secureNoFixup = 1 << 2
	secureKeep    = 1 << 4
)
