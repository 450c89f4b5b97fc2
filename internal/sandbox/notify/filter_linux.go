package notify

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// abi is one of the system call interfaces of the processor.
type abi struct {
	audit   uint32
	foreign uint32 // numbers from here on belong to another one; 0: none do
	calls   []call
}

// call is a system call that is not simply let through.
type call struct {
	number uintptr
	// only are conditions on arguments, all of which must hold. A call may stand
	// in the table several times, with other conditions.
	only []condition
	// handle answers the call; nil answers errno without asking, of which zero
	// is success.
	handle func(*supervisor) reply
	errno  unix.Errno
}

// condition compares the low half of an argument.
type condition struct {
	arg   uint32
	test  uint16 // BPF_JEQ, or BPF_JSET for "one of the bits"
	value uint32
}

// In struct seccomp_data; all processors with a table are little-endian.
const (
	numberOffset = 0
	archOffset   = 4
	argsOffset   = 16
)

// Filter returns the filter as the bytes of struct sock_filter. It is to be
// installed beside the one that forbids calls: of two answers the kernel takes a
// refusal before a question, and a question before a permission.
func Filter() []byte { return filterOf(abis) }

func filterOf(abis []abi) []byte {
	program := []unix.SockFilter{load(archOffset)}
	for _, a := range abis {
		block := a.compile()
		// Conditional jumps reach 255 instructions, unconditional ones any number.
		skip := unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(len(block))}
		program = append(program, jump(unix.BPF_JEQ, a.audit, 1, 0), skip)
		program = append(program, block...)
	}
	program = append(program, ret(unix.SECCOMP_RET_KILL_PROCESS))
	return unsafe.Slice((*byte)(unsafe.Pointer(&program[0])), len(program)*int(unsafe.Sizeof(program[0])))
}

func (a *abi) compile() []unix.SockFilter {
	block := []unix.SockFilter{load(numberOffset)}
	if a.foreign != 0 {
		block = append(block, jump(unix.BPF_JGE, a.foreign, 0, 1), ret(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	for _, c := range a.calls {
		answer := c.compile()
		block = append(block, jump(unix.BPF_JEQ, uint32(c.number), 0, uint8(len(answer))))
		block = append(block, answer...)
	}
	return append(block, ret(unix.SECCOMP_RET_ALLOW))
}

func (c *call) compile() []unix.SockFilter {
	answer := uint32(unix.SECCOMP_RET_USER_NOTIF)
	if c.handle == nil {
		answer = unix.SECCOMP_RET_ERRNO | uint32(c.errno)
	}
	block := []unix.SockFilter{ret(answer)}
	if len(c.only) > 0 {
		block = append(block, load(numberOffset)) // for the next call of the table
	}
	for i := len(c.only) - 1; i >= 0; i-- {
		// Behind the test stand those of other conditions, the answer, and what
		// it jumps to when it fails.
		test := jump(c.only[i].test, c.only[i].value, 0, uint8(len(block)-1))
		block = append([]unix.SockFilter{load(argsOffset + 8*c.only[i].arg), test}, block...)
	}
	return block
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func ret(value uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
}
