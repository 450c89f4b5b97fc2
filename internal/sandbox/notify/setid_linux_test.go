package notify

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestIdentitiesChangeAsTheKernels makes random calls on a thread of real root's
// and asks the kernel who it is after each of them.
func TestIdentitiesChangeAsTheKernels(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
	if m, _ := os.ReadFile("/proc/self/setgroups"); string(m) == "deny\n" {
		t.Skip("SKIPPED: needs more ids than one")
	}
	for seed := range uint64(1000) {
		failed := make(chan string)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with what it has become
			failed <- compare(rand.New(rand.NewPCG(seed, 0)))
		}()
		if text := <-failed; text != "" {
			t.Fatalf("seed %d: %s", seed, text)
		}
	}
}

// idCall is one call, made to the kernel and to an identity.
type idCall struct {
	name   string
	number uintptr
	args   int
	model  func(id *identity, a []uint32) unix.Errno
}

var idCalls = []idCall{
	{"setuid", unix.SYS_SETUID, 1, func(id *identity, a []uint32) unix.Errno { return id.setOne(users, a[0]) }},
	{"setgid", unix.SYS_SETGID, 1, func(id *identity, a []uint32) unix.Errno { return id.setOne(groups, a[0]) }},
	{"setreuid", unix.SYS_SETREUID, 2, func(id *identity, a []uint32) unix.Errno { return id.setTwo(users, a[0], a[1]) }},
	{"setregid", unix.SYS_SETREGID, 2, func(id *identity, a []uint32) unix.Errno { return id.setTwo(groups, a[0], a[1]) }},
	{"setresuid", unix.SYS_SETRESUID, 3, func(id *identity, a []uint32) unix.Errno { return id.setThree(users, a[0], a[1], a[2]) }},
	{"setresgid", unix.SYS_SETRESGID, 3, func(id *identity, a []uint32) unix.Errno { return id.setThree(groups, a[0], a[1], a[2]) }},
	{"setfsuid", unix.SYS_SETFSUID, 1, func(id *identity, a []uint32) unix.Errno { id.setFS(users, a[0]); return 0 }},
	{"setfsgid", unix.SYS_SETFSGID, 1, func(id *identity, a []uint32) unix.Errno { id.setFS(groups, a[0]); return 0 }},
}

func compare(r *rand.Rand) string {
	id, said := &identity{}, ""
	for range 12 {
		if r.IntN(6) == 0 {
			id.keeping = r.IntN(2) == 0
			said += fmt.Sprintf("keep capabilities %v; ", id.keeping)
			keep := uintptr(0)
			if id.keeping {
				keep = 1
			}
			unix.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, keep, 0)
		}
		call := idCalls[r.IntN(len(idCalls))]
		var a []uint32
		for range 3 {
			a = append(a, []uint32{0, 1, 2, 3, keep}[r.IntN(5)])
		}
		if a[1] == keep {
			a[1] = 1 // kernels differ in what setresuid(-1, -1, -1) does
		}
		said += fmt.Sprint(call.name, a[:call.args], "; ")
		was := id.user
		want := call.model(id, a)
		if want == 0 {
			id.adjust(was)
		}
		_, _, got := unix.RawSyscall(call.number, uintptr(a[0]), uintptr(a[1]), uintptr(a[2]))
		if got != want {
			return fmt.Sprintf("%s\nthe kernel says %v, and not %v", said, got, want)
		}
		if was.effective == 0 && id.user.effective != 0 && id.keeping { // which we take for done
			raise()
		}
		if user, group := threadIDs(unix.SYS_GETRESUID, unix.SYS_SETFSUID), threadIDs(unix.SYS_GETRESGID, unix.SYS_SETFSGID); user != id.user || group != id.group {
			return fmt.Sprintf("%s\nthe kernel has user %v, group %v, and not %v, %v", said, user, group, id.user, id.group)
		}
	}
	return ""
}

func threadIDs(get, setFS uintptr) ids {
	var i ids
	unix.RawSyscall(get, uintptr(unsafe.Pointer(&i.real)), uintptr(unsafe.Pointer(&i.effective)), uintptr(unsafe.Pointer(&i.saved)))
	fs, _, _ := unix.RawSyscall(setFS, ^uintptr(0), 0, 0)
	i.fs = uint32(fs)
	return i
}

// raise makes all capabilities effective that are permitted.
func raise() {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	unix.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
}
