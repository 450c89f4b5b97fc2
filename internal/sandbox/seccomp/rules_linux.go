package seccomp

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// answer decides one call: the first rule whose arguments all match, or the
// fallback. A rule without arguments decides at once, so it is looked for first.
func answer(rules []specs.LinuxSyscall, fallback uint32) ([]unix.SockFilter, error) {
	for _, r := range rules {
		if len(r.Args) == 0 {
			value, err := action(r.Action, r.ErrnoRet)
			return []unix.SockFilter{ret(value)}, err
		}
	}
	var code []unix.SockFilter
	for _, r := range rules {
		value, err := action(r.Action, r.ErrnoRet)
		if err != nil {
			return nil, err
		}
		var rule []unix.SockFilter
		for _, a := range r.Args {
			c, err := condition(a)
			if err != nil {
				return nil, err
			}
			rule = append(rule, c...)
		}
		rule = append(rule, ret(value))
		if len(rule) >= fail {
			return nil, fmt.Errorf("the rule of %v is too long", r.Names)
		}
		for i := range rule {
			if rule[i].Jt == fail {
				rule[i].Jt = uint8(len(rule) - i - 1)
			}
			if rule[i].Jf == fail {
				rule[i].Jf = uint8(len(rule) - i - 1)
			}
		}
		code = append(code, rule...)
	}
	return append(code, ret(fallback)), nil
}

// fail stands for a jump to the end of the rule until its length is known.
const fail = 255

// condition goes on behind itself when an argument matches, and fails otherwise.
// The machine has 32 bits and arguments have 64: the high half comes first, and
// the low half counts only when the high ones are equal.
func condition(a specs.LinuxSeccompArg) ([]unix.SockFilter, error) {
	if a.Index > 5 {
		return nil, fmt.Errorf("no system call has an argument %d", a.Index)
	}
	low := uint32(argsOffset + 8*a.Index + lowHalf)
	high := uint32(argsOffset + 8*a.Index + highHalf)
	v, w := uint32(a.Value), uint32(a.Value>>32)
	switch a.Op {
	case specs.OpEqualTo:
		return []unix.SockFilter{
			load(high), jump(unix.BPF_JEQ, w, 0, fail),
			load(low), jump(unix.BPF_JEQ, v, 0, fail),
		}, nil
	case specs.OpNotEqual:
		return []unix.SockFilter{
			load(high), jump(unix.BPF_JEQ, w, 0, 2),
			load(low), jump(unix.BPF_JEQ, v, fail, 0),
		}, nil
	case specs.OpMaskedEqual:
		return []unix.SockFilter{
			load(high), and(w), jump(unix.BPF_JEQ, uint32(a.ValueTwo>>32), 0, fail),
			load(low), and(v), jump(unix.BPF_JEQ, uint32(a.ValueTwo), 0, fail),
		}, nil
	case specs.OpLessThan:
		return below(high, low, w, jump(unix.BPF_JGE, v, fail, 0)), nil
	case specs.OpLessEqual:
		return below(high, low, w, jump(unix.BPF_JGT, v, fail, 0)), nil
	case specs.OpGreaterThan:
		return above(high, low, w, jump(unix.BPF_JGT, v, 0, fail)), nil
	case specs.OpGreaterEqual:
		return above(high, low, w, jump(unix.BPF_JGE, v, 0, fail)), nil
	}
	return nil, fmt.Errorf("unknown comparison %s", a.Op)
}

func below(high, low, w uint32, last unix.SockFilter) []unix.SockFilter {
	return []unix.SockFilter{
		load(high), jump(unix.BPF_JGT, w, fail, 0), jump(unix.BPF_JEQ, w, 0, 2),
		load(low), last,
	}
}

func above(high, low, w uint32, last unix.SockFilter) []unix.SockFilter {
	return []unix.SockFilter{
		load(high), jump(unix.BPF_JGE, w, 0, fail), jump(unix.BPF_JEQ, w, 0, 2),
		load(low), last,
	}
}

// All processors with tables are little-endian.
const lowHalf, highHalf = 0, 4

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func always(n int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: uint32(n)}
}

func ret(value uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value}
}
