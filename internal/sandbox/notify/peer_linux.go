package notify

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// peer tells who is at the other end of a socket. Of somebody outside of the
// step, and of root, the kernel tells what is right.
func (s *supervisor) peer() reply {
	cred, err := s.peerOf(s.fd(0))
	if err != nil || cred.Pid == 0 {
		return natural
	}
	id, err := s.identityOf(int(cred.Pid))
	if err != nil || id.user.effective == 0 && id.group.effective == 0 {
		return natural
	}
	cred.Uid, cred.Gid = id.user.effective, id.group.effective
	// The number that the process has in the step.
	numbers := strings.Fields(status(strconv.Itoa(int(cred.Pid)), "NSpid"))
	if len(numbers) == 0 {
		return natural
	}
	pid, err := strconv.ParseInt(numbers[len(numbers)-1], 10, 32)
	if err != nil {
		return natural
	}
	cred.Pid = int32(pid)
	return s.writeOption(bytesOf(cred))
}

// writeOption answers a getsockopt, whose caller tells how much it has room for.
func (s *supervisor) writeOption(data []byte) reply {
	var size uint32
	if err := s.readAll(bytesOf(&size), s.req.args[4]); err != nil {
		return natural
	}
	size = min(size, uint32(len(data)))
	err := s.write(s.req.args[3], data[:size])
	if err == nil {
		err = s.write(s.req.args[4], bytesOf(&size))
	}
	if err != nil {
		return failed(err)
	}
	return reply{}
}

// peerOf asks the kernel, of a copy of the handle.
func (s *supervisor) peerOf(fd int) (*unix.Ucred, error) {
	group, err := strconv.Atoi(status(s.of(""), "Tgid"))
	if err != nil {
		return nil, unix.ESRCH
	}
	process, err := unix.PidfdOpen(group, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(process)
	socket, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(socket)
	if !s.alive() {
		return nil, unix.ESRCH
	}
	return unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
}
