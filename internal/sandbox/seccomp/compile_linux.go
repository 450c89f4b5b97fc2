package seccomp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	profile "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

//go:generate go run generate.go

// arch is one of the system call interfaces of the processor.
type arch struct {
	audit   uint32
	calls   string // lines of "name number"
	foreign uint32 // numbers from here on belong to another interface; 0: none do
}

// Profile returns Docker's default profile for a process that may have the given
// capabilities ("CAP_CHOWN", ...), in the words of OCI runtimes.
func Profile(capabilities []string) (*specs.LinuxSeccomp, error) {
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
	p, err := profile.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("system call filter: %w", err)
	}
	return p, nil
}

// Default returns Docker's default profile for a process that may have the
// given capabilities ("CAP_CHOWN", ...), as the bytes of struct sock_filter.
func Default(capabilities []string) ([]byte, error) {
	if len(arches) == 0 {
		return nil, fmt.Errorf("no system call filter is known for %s", runtime.GOARCH)
	}
	p, err := Profile(capabilities)
	if err != nil {
		return nil, err
	}
	program, err := compile(p, arches)
	if err != nil {
		return nil, fmt.Errorf("system call filter: %w", err)
	}
	var out bytes.Buffer
	if err := binary.Write(&out, binary.NativeEndian, program); err != nil {
		return nil, fmt.Errorf("system call filter: %w", err)
	}
	return out.Bytes(), nil
}

const (
	numberOffset = 0 // in struct seccomp_data
	archOffset   = 4
	argsOffset   = 16

	maxProgram = 4096 // BPF_MAXINSNS
)

// compile makes one block for each interface, and kills what comes through
// any other: no rule was meant for it.
func compile(p *specs.LinuxSeccomp, arches []arch) ([]unix.SockFilter, error) {
	program := []unix.SockFilter{load(archOffset)}
	for _, a := range arches {
		block, err := compileArch(p, a)
		if err != nil {
			return nil, err
		}
		program = append(program, jump(unix.BPF_JEQ, a.audit, 1, 0), always(len(block)))
		program = append(program, block...)
	}
	program = append(program, ret(unix.SECCOMP_RET_KILL_PROCESS))
	if len(program) > maxProgram {
		return nil, fmt.Errorf("%d instructions are more than the kernel takes", len(program))
	}
	return program, nil
}

// span is a run of call numbers, from first to the next span's, that are
// answered alike.
type span struct {
	first uint32
	code  []unix.SockFilter
}

func compileArch(p *specs.LinuxSeccomp, a arch) ([]unix.SockFilter, error) {
	numbers, err := parseCalls(a.calls)
	if err != nil {
		return nil, err
	}
	fallback, err := action(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, err
	}
	rules := map[uint32][]specs.LinuxSyscall{}
	for _, call := range p.Syscalls {
		for _, name := range call.Names {
			if n, ok := numbers[name]; ok { // other interfaces have the rest
				rules[n] = append(rules[n], call)
			}
		}
	}
	var spans []span
	add := func(first uint32, code []unix.SockFilter) {
		if len(spans) == 0 || !slices.Equal(spans[len(spans)-1].code, code) {
			spans = append(spans, span{first, code})
		}
	}
	next := uint32(0)
	for _, n := range sortedKeys(rules) {
		if n > next {
			add(next, []unix.SockFilter{ret(fallback)})
		}
		code, err := answer(rules[n], fallback)
		if err != nil {
			return nil, err
		}
		add(n, code)
		next = n + 1
	}
	// Calls newer than the profile do not exist: a program that is told so
	// falls back to older ones, one that is denied gives up.
	missing := []unix.SockFilter{ret(errno(unix.ENOSYS))}
	add(next, missing)
	if a.foreign != 0 {
		add(a.foreign, missing)
	}
	return append([]unix.SockFilter{load(numberOffset)}, search(spans)...), nil
}

func sortedKeys(rules map[uint32][]specs.LinuxSyscall) []uint32 {
	keys := make([]uint32, 0, len(rules))
	for n := range rules {
		keys = append(keys, n)
	}
	slices.Sort(keys)
	return keys
}

func parseCalls(table string) (map[string]uint32, error) {
	numbers := map[string]uint32{}
	for line := range strings.Lines(table) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("number of %s: %w", name, err)
		}
		numbers[name] = uint32(n)
	}
	return numbers, nil
}

// search finds the span of the number in the accumulator by halving.
func search(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code
	}
	half := len(spans) / 2
	left, right := search(spans[:half]), search(spans[half:])
	// Conditional jumps reach 255 instructions, unconditional ones any number.
	code := []unix.SockFilter{jump(unix.BPF_JGE, spans[half].first, 0, 1), always(len(left))}
	return append(append(code, left...), right...)
}

func action(a specs.LinuxSeccompAction, number *uint) (uint32, error) {
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		if number != nil {
			return errno(unix.Errno(*number)), nil
		}
		return errno(unix.EPERM), nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	}
	return 0, fmt.Errorf("unknown action %s", a)
}

func errno(e unix.Errno) uint32 {
	return unix.SECCOMP_RET_ERRNO | uint32(e)&unix.SECCOMP_RET_DATA
}
