package seccomp

import (
	"testing"
	"unsafe"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	testAudit = 7
	allow     = unix.SECCOMP_RET_ALLOW
	eperm     = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	enosys    = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	kill      = unix.SECCOMP_RET_KILL_PROCESS
)

// run is the kernel's machine, as far as our programs use it.
func run(t *testing.T, program []unix.SockFilter, audit, number uint32, args ...uint64) uint32 {
	t.Helper()
	var data [16]uint32
	data[0], data[1] = number, audit
	for i, a := range args {
		data[4+2*i], data[5+2*i] = uint32(a), uint32(a>>32)
	}
	acc := uint32(0)
	for pc := 0; pc < len(program); pc++ {
		in := program[pc]
		yes := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = data[in.K/4]
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			acc &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = acc == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			yes = acc > in.K
		default:
			t.Fatalf("instruction %d: unknown code %#x", pc, in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("ran off the end of the program")
	return 0
}

// Every comparison, at and around its bounds in both halves, against Go's own.
func TestComparisons(t *testing.T) {
	const mask = 0xff00000000ff
	ops := map[specs.LinuxSeccompOperator]func(a, b uint64) bool{
		specs.OpEqualTo:      func(a, b uint64) bool { return a == b },
		specs.OpNotEqual:     func(a, b uint64) bool { return a != b },
		specs.OpLessThan:     func(a, b uint64) bool { return a < b },
		specs.OpLessEqual:    func(a, b uint64) bool { return a <= b },
		specs.OpGreaterThan:  func(a, b uint64) bool { return a > b },
		specs.OpGreaterEqual: func(a, b uint64) bool { return a >= b },
		specs.OpMaskedEqual:  func(a, b uint64) bool { return a&mask == b },
	}
	values := []uint64{0, 1, 37, 38, 39, 1<<32 - 1, 1 << 32, 1<<32 + 38, 2 << 32, 0x20000000ff, ^uint64(0)}
	for op, want := range ops {
		for _, b := range values {
			arg := specs.LinuxSeccompArg{Index: 1, Op: op, Value: b}
			if op == specs.OpMaskedEqual {
				arg.Value, arg.ValueTwo = mask, b
			}
			p := profileOf(specs.LinuxSyscall{Names: []string{"three"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg}})
			program, err := compile(p, testArches)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range values {
				if got := run(t, program, testAudit, 3, 99, a) == allow; got != want(a, b) {
					t.Errorf("%#x %s %#x is %v", a, op, b, got)
				}
			}
		}
	}
}

var testArches = []arch{{audit: testAudit, calls: "one 1\nthree 3\nfour 4\nten 10\n", foreign: 0x40000000}}

func profileOf(calls ...specs.LinuxSyscall) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: calls}
}

func TestAnswers(t *testing.T) {
	number := uint(unix.ENOSYS)
	equal := func(v uint64) []specs.LinuxSeccompArg {
		return []specs.LinuxSeccompArg{{Value: v, Op: specs.OpEqualTo}}
	}
	program, err := compile(profileOf(
		specs.LinuxSyscall{Names: []string{"one", "unheard-of"}, Action: specs.ActAllow},
		specs.LinuxSyscall{Names: []string{"three"}, Action: specs.ActAllow, Args: equal(5)},
		specs.LinuxSyscall{Names: []string{"three"}, Action: specs.ActAllow, Args: equal(6)},
		specs.LinuxSyscall{Names: []string{"ten"}, Action: specs.ActErrno, ErrnoRet: &number},
	), testArches)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		audit, number uint32
		arg           uint64
		want          uint32
	}{
		{testAudit, 0, 0, eperm}, {testAudit, 1, 0, allow}, {testAudit, 2, 0, eperm},
		{testAudit, 3, 5, allow}, {testAudit, 3, 6, allow}, {testAudit, 3, 7, eperm},
		{testAudit, 4, 5, eperm}, {testAudit, 10, 0, enosys}, {testAudit, 11, 0, enosys},
		{testAudit, 0x40000001, 0, enosys}, {testAudit, 0xffffffff, 0, enosys},
		{testAudit + 1, 1, 0, kill},
	} {
		if got := run(t, program, c.audit, c.number, c.arg); got != c.want {
			t.Errorf("interface %d, call %d(%d): %#x, want %#x", c.audit, c.number, c.arg, got, c.want)
		}
	}
}

func TestDefaultProfile(t *testing.T) {
	if len(arches) == 0 {
		t.Skip("SKIPPED: no tables for this processor")
	}
	raw, err := Default([]string{"CAP_SYS_CHROOT"})
	if err != nil {
		t.Fatal(err)
	}
	program := unsafe.Slice((*unix.SockFilter)(unsafe.Pointer(&raw[0])), len(raw)/int(unsafe.Sizeof(unix.SockFilter{})))
	if len(program) > 1000 {
		t.Errorf("%d instructions", len(program))
	}
	native := arches[0].audit
	for name, c := range map[string]struct {
		number uint32
		args   []uint64
		want   uint32
	}{
		"read": {unix.SYS_READ, nil, allow}, "execve": {unix.SYS_EXECVE, nil, allow}, "openat2": {unix.SYS_OPENAT2, nil, allow},
		"chroot": {unix.SYS_CHROOT, nil, allow}, "mount": {unix.SYS_MOUNT, nil, eperm}, "unshare": {unix.SYS_UNSHARE, nil, eperm},
		"bpf": {unix.SYS_BPF, nil, eperm}, "keyctl": {unix.SYS_KEYCTL, nil, eperm}, "open_tree": {unix.SYS_OPEN_TREE, nil, eperm},
		"clone": {unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, allow}, "clone user": {unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER}, eperm},
		"clone3": {unix.SYS_CLONE3, nil, enosys}, "inet": {unix.SYS_SOCKET, []uint64{unix.AF_INET}, allow},
		"alg": {unix.SYS_SOCKET, []uint64{unix.AF_ALG}, eperm}, "vsock": {unix.SYS_SOCKET, []uint64{unix.AF_VSOCK}, eperm},
	} {
		if got := run(t, program, native, c.number, c.args...); got != c.want {
			t.Errorf("%s: %#x, want %#x", name, got, c.want)
		}
	}
	if got := run(t, program, 0, 0); got != kill {
		t.Errorf("unknown interface: %#x", got)
	}
}
