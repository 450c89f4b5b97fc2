package notify

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
)

// execing is a process that was given the identity it has after execve. Whether
// that succeeded nobody tells us; so it is looked at before the identity of any
// process is used again. The other way round, a child that the new program
// makes at once would not be what its parent is.
type execing struct {
	was    *identity
	began  string // which process of that number it is
	memory string // what it executed then
}

// exec is told before a process executes a program.
func (s *supervisor) exec(dir int, name uint64, flags int) reply {
	place, err := s.place(dir, name, flags)
	if err != nil {
		return natural
	}
	id := s.identity()
	next := id.clone()
	var st unix.Stat_t
	if err := unix.Stat(place, &st); err != nil {
		return natural
	}
	if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && st.Mode&unix.S_IFMT == unix.S_IFREG && s.mayRise(place) {
		o, err := owner.Get(place, true)
		if err != nil {
			return natural
		}
		if st.Mode&unix.S_ISUID != 0 {
			next.user.effective = o.UID
		}
		if st.Mode&unix.S_ISGID != 0 && st.Mode&unix.S_IXGRP != 0 {
			next.group.effective = o.GID
		}
	}
	for _, of := range []kind{users, groups} {
		i := of(next)
		i.saved, i.fs = i.effective, i.effective
	}
	next.rights = rights{lost: next.user.real != 0 && next.user.effective != 0, lowered: next.user.effective != 0}
	if next.text() == id.text() {
		return natural
	}
	if len(s.execs) >= manyExecs {
		s.forget()
	}
	group := status(s.of(""), "Tgid")
	began, memory := life(group)
	s.execs[group] = &execing{was: id.clone(), began: began, memory: memory}
	if r := s.become(next); r.errno != 0 {
		delete(s.execs, group)
	}
	return natural
}

// mayRise tells whether the set-id bits of a file count: not those of a script,
// on a mount without them, or for a process that has forsworn new rights.
func (s *supervisor) mayRise(place string) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(place, &fs); err != nil || fs.Flags&unix.ST_NOSUID != 0 {
		return false
	}
	if status(s.of(""), "NoNewPrivs") == "1" {
		return false
	}
	f, err := os.OpenFile(place, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [2]byte
	n, _ := f.Read(head[:])
	return string(head[:n]) != "#!"
}

// manyExecs is when processes are looked for that died before they asked for
// anything.
const manyExecs = 1024

func (s *supervisor) forget() {
	for group, e := range s.execs {
		if began, _ := life(group); began != e.began {
			delete(s.execs, group)
		}
	}
}

// settle takes the identity back from a process that tried to execute a program
// and did not.
func (s *supervisor) settle() {
	group := status(s.of(""), "Tgid")
	e := s.execs[group]
	if e == nil {
		if s.missed++; s.missed%manyExecs == 0 { // the few there are may be of the dead
			s.forget()
		}
		return
	}
	delete(s.execs, group)
	if began, memory := life(group); began == e.began && memory == e.memory {
		_ = s.assume(int(s.req.pid), e.was) // it was possible before
	}
}

// life tells when a process was started, in ticks since the machine was, and
// where its program, stack and arguments are and from what file they come. That
// changes when it executes a program, be it the same one again: the kernel puts
// it elsewhere.
func life(pid string) (began, memory string) {
	data, err := os.ReadFile(pid + "/stat")
	if err != nil {
		return "", ""
	}
	// The name, in brackets, may hold anything. The third field comes first.
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(f) < 49 {
		return "", ""
	}
	var exe unix.Stat_t
	_ = unix.Stat(pid+"/exe", &exe) // all zero is as good as anything
	return f[19], fmt.Sprint(f[23:26], f[42:49], exe.Dev, exe.Ino)
}
