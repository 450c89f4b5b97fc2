package notify

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// identity is who a process is.
type identity struct {
	user, group ids
	groups      []uint32 // supplementary ones
	rights
}

// rights are what is left of root's capabilities, which are taken for one. The
// zero value has them.
type rights struct {
	keeping bool // it asked not to lose them when it stops being root
	lost    bool // they are gone (not permitted), for as long as no id is root's
	lowered bool // they are not used (not effective)
}

// ids are the four user or group ids of a process.
type ids struct{ real, effective, saved, fs uint32 }

// The two kinds of ids of an identity.
func users(id *identity) *ids  { return &id.user }
func groups(id *identity) *ids { return &id.group }

// text tells identities apart.
func (id *identity) text() string { return fmt.Sprint(id.user, id.group, id.groups, id.rights) }

// root tells whether it may do what needs a capability.
func (id *identity) root() bool { return !id.lowered }

func (id *identity) clone() *identity {
	c := *id
	c.groups = slices.Clone(id.groups)
	return &c
}

// maxIdentities bounds the texts of all identities that a step may ever have, in
// bytes: enough for some hundred thousand.
const maxIdentities = 16 << 20

// begin makes the first process root; all others come from it.
func (s *supervisor) begin() error {
	if err := s.assume(int(s.req.pid), &identity{}); err != nil {
		return fmt.Errorf("set the limit that holds the identity of processes (locks): %w", err)
	}
	return nil
}

// identity is that of the calling process.
func (s *supervisor) identity() *identity {
	if len(s.execs) > 0 {
		s.settle()
	}
	id, _ := s.identityOf(int(s.req.pid))
	return id
}

// identityOf looks up a process by its own or one of its threads' numbers. One
// of those that do not belong to a step is root, as is one that is gone.
func (s *supervisor) identityOf(pid int) (*identity, error) {
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_LOCKS, nil, &limit); err != nil {
		return &identity{}, err
	}
	if limit.Cur < uint64(len(s.identities)) {
		return &s.identities[limit.Cur], nil
	}
	return &identity{}, nil
}

// assume gives a process an identity, for good or until the next. The hard limit stays: raising it again
// would need rights of the machine.
func (s *supervisor) assume(pid int, id *identity) error {
	text := id.text()
	number, ok := s.numbers[text]
	if !ok {
		if s.spent += len(text); s.spent > maxIdentities {
			return unix.EAGAIN // of a step that makes them up to use up memory
		}
		number = uint64(len(s.identities))
		s.identities = append(s.identities, *id.clone())
		s.numbers[text] = number
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_LOCKS, nil, &limit); err != nil {
		return err
	}
	limit.Cur = number
	return unix.Prlimit(pid, unix.RLIMIT_LOCKS, &limit, nil)
}

// become gives the calling process the identity, if it is still the one that
// waits.
func (s *supervisor) become(id *identity) reply {
	if !s.alive() {
		return natural
	}
	if err := s.assume(int(s.req.pid), id); err != nil {
		return reply{errno: unix.EAGAIN} // as when a user may have no more processes
	}
	return reply{}
}
