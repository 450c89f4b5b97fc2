package inroot

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// hostile makes a directory of which only image is the tree; "outside" is what
// nothing may lead to.
func hostile(t testing.TB) (root *Root, dir string) {
	t.Helper()
	dir = t.TempDir()
	tree := filepath.Join(dir, "image")
	for _, d := range []string{"usr/bin", "outside", "deep/er", "proc"} {
		must(t, os.MkdirAll(filepath.Join(tree, d), 0o755))
	}
	must(t, os.Mkdir(filepath.Join(dir, "outside"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "outside/secret"), []byte("of the host"), 0o644))
	must(t, os.WriteFile(filepath.Join(tree, "outside/secret"), []byte("of the image"), 0o644))
	must(t, os.WriteFile(filepath.Join(tree, "usr/bin/sh"), nil, 0o755))
	must(t, unix.Mkfifo(filepath.Join(tree, "pipe"), 0o644))
	for name, to := range map[string]string{
		"bin": "/usr/bin", "deep/up": "../../../../outside", "abs": dir + "/outside", "climb": "../outside/secret",
		"a": "b", "b": "a", "root": "/", "slash": "usr/bin/", "dangling": "/no/thing", "file/link": "", "proc/self": "/proc/self/root",
	} {
		if to != "" {
			must(t, os.Symlink(to, filepath.Join(tree, name)))
		}
	}
	for i := range 42 {
		must(t, os.Symlink("chain"+string(rune('A'+i+1)), filepath.Join(tree, "chain"+string(rune('A'+i)))))
	}
	must(t, os.WriteFile(filepath.Join(tree, "chain"+string(rune('A'+42))), nil, 0o644))
	root, err := OpenRoot(tree, "the image")
	must(t, err)
	t.Cleanup(func() { root.Close() })
	return root, dir
}

// Both ways of looking up come to the same.
func TestWhereAPathLeads(t *testing.T) {
	root, _ := hostile(t)
	const nofollow = unix.O_PATH | unix.O_NOFOLLOW
	tests := []struct {
		name  string
		flags int
		rule  Rule
		want  any // the path in the tree, or an error
	}{
		{"bin/sh", unix.O_PATH, Within, "/usr/bin/sh"},
		{"/bin/sh", unix.O_PATH, Within, "/usr/bin/sh"},
		{"../../../bin/sh", unix.O_PATH, Within, "/usr/bin/sh"},
		{"bin/../../../outside/secret", unix.O_PATH, Within, "/outside/secret"},
		{"deep/up/secret", unix.O_PATH, Within, "/outside/secret"},
		{"climb", unix.O_PATH, Within, "/outside/secret"},
		{"abs/secret", unix.O_PATH, Within, unix.ENOENT},
		{"root/root/bin", unix.O_PATH, Within, "/usr/bin"},
		{"root", nofollow, Within, "/root"},
		{"root/", nofollow, Within, "/"},
		{"slash", unix.O_PATH, Within, "/usr/bin"},
		{"slash/./sh", unix.O_RDONLY, Within, "/usr/bin/sh"},
		{".", unix.O_RDONLY | unix.O_DIRECTORY, Within, "/"},
		{"", unix.O_PATH, Within, unix.ENOENT},
		{"/", unix.O_PATH, Within, "/"},
		{"usr/bin/", unix.O_PATH, Within, "/usr/bin"},
		{"usr/bin/sh/", unix.O_PATH, Within, unix.ENOTDIR},
		{"usr/bin/sh/.", unix.O_PATH, Within, unix.ENOTDIR},
		{"usr/bin/sh/..", unix.O_PATH, Within, unix.ENOTDIR},
		{"usr/bin/sh", unix.O_PATH | unix.O_DIRECTORY, Within, unix.ENOTDIR},
		{"usr/bin", unix.O_WRONLY, Within, unix.EISDIR},
		{"a", unix.O_PATH, Within, unix.ELOOP},
		{"a/b", unix.O_PATH, Within, unix.ELOOP},
		{"chainA", unix.O_PATH, Within, unix.ELOOP},
		{"chainC", unix.O_PATH, Within, "/chaink"},
		{"dangling", unix.O_PATH, Within, unix.ENOENT},
		{"dangling", nofollow, Within, "/dangling"},
		{"bin", unix.O_RDONLY | unix.O_NOFOLLOW, Within, unix.ELOOP},
		{"no/../bin", unix.O_PATH, Within, unix.ENOENT},
		{"pipe", unix.O_PATH, Within, "/pipe"},
		{"proc/self", unix.O_PATH, Within, unix.ELOOP},
		{strings.Repeat("x", 256), unix.O_PATH, Within, unix.ENAMETOOLONG},
		{strings.Repeat("./", 2048), unix.O_PATH, Within, unix.ENAMETOOLONG},

		{"usr/bin/sh", unix.O_RDONLY, Plain, "/usr/bin/sh"},
		{"usr/../usr/bin", unix.O_PATH, Plain, "/usr/bin"},
		{"usr/../..", unix.O_PATH, Plain, unix.EXDEV},
		{"..", unix.O_PATH, Plain, unix.EXDEV},
		{"/usr", unix.O_PATH, Plain, unix.EXDEV},
		{"bin", unix.O_PATH, Plain, unix.ELOOP},
		{"bin", nofollow, Plain, "/bin"},
		{"bin/sh", unix.O_PATH, Plain, unix.ELOOP},
		{"slash/", nofollow, Plain, unix.ELOOP},
		{"usr/bin", unix.O_PATH, Plain | SameMount, "/usr/bin"},
	}
	for _, test := range tests {
		for way, open := range map[string]func() (int, error){
			"the kernel": func() (int, error) { return Open(root.fd, test.name, test.flags, test.rule) },
			"stepwise":   func() (int, error) { return stepwise(root.fd, test.name, test.flags, test.rule&^SameMount, nil) },
		} {
			if got := led(t, root, open); got != test.want {
				t.Errorf("%q (%#x, %#x) by %s: %v, want %v", test.name, test.flags, test.rule, way, got, test.want)
			}
		}
	}
}

// led tells where an open file is, or why it is not open.
func led(t testing.TB, root *Root, open func() (int, error)) any {
	t.Helper()
	fd, err := open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("programs that are executed have the descriptor: %v", err)
	}
	at, err := root.PathOf(fd)
	must(t, err)
	return at
}

// In /proc there are links that lead to open files, whatever they say.
func TestMagicLinks(t *testing.T) {
	proc, err := OpenRoot("/proc", "/proc")
	must(t, err)
	defer proc.Close()
	for _, name := range []string{"self/exe", "self/root/etc", "self/cwd", "thread-self/fd/0/..", "self/ns/mnt", "self/root/proc/self/exe"} {
		for way, open := range map[string]func() (int, error){
			"the kernel": func() (int, error) { return Open(proc.fd, name, unix.O_PATH, Within) },
			"stepwise":   func() (int, error) { return stepwise(proc.fd, name, unix.O_PATH, Within, nil) },
			"its own":    func() (int, error) { return Open(proc.fd, name, unix.O_PATH, Own) },
		} {
			fd, err := open()
			if err == nil {
				unix.Close(fd)
			}
			// A text like mnt:[4026531841] leads nowhere, which is as good.
			if !errors.Is(err, unix.ELOOP) && (way != "stepwise" || !errors.Is(err, unix.ENOENT)) {
				t.Errorf("%s by %s: %v", name, way, err)
			}
		}
	}
	for _, name := range []string{"self/status", "mounts", "thread-self"} {
		for _, open := range []func(int, string, int, Rule) (int, error){Open,
			func(at int, name string, flags int, rule Rule) (int, error) {
				return stepwise(at, name, flags, rule, nil)
			}} {
			fd, err := open(proc.fd, name, unix.O_PATH, Within)
			must(t, err)
			unix.Close(fd)
		}
	}
}

func TestMountsInTheTree(t *testing.T) {
	slash, err := OpenRoot("/", "the machine")
	must(t, err)
	defer slash.Close()
	if _, err := slash.Open("proc/self", unix.O_PATH, Plain|SameMount); !errors.Is(err, unix.EXDEV) {
		t.Errorf("%v", err)
	}
	if _, err := stepwise(slash.fd, "proc", unix.O_PATH, Plain|SameMount, unix.ENOSYS); !errors.Is(err, unix.ENOSYS) {
		t.Errorf("the kernel alone knows mounts: %v", err)
	}
}

// A process with the tree as its root.
func TestOwnRoot(t *testing.T) {
	_, dir := hostile(t)
	t.Chdir(filepath.Join(dir, "image"))
	for name, want := range map[string]any{
		"bin": unix.ENOENT, "usr/../outside/secret": dir + "/image/outside/secret", "../outside/secret": dir + "/outside/secret",
		"abs": dir + "/outside", dir + "/image/climb": dir + "/outside/secret", "/proc/self/exe": unix.ELOOP, "a": unix.ELOOP,
	} {
		if _, err := os.Stat("/usr/bin"); name == "bin" && err == nil {
			want = "/usr/bin"
		}
		for way, open := range map[string]func() (int, error){
			"the kernel": func() (int, error) { return Open(unix.AT_FDCWD, name, unix.O_PATH, Own) },
			"stepwise":   func() (int, error) { return stepwise(unix.AT_FDCWD, name, unix.O_PATH, Own, nil) },
		} {
			fd, err := open()
			got := any(err)
			if err == nil {
				got, err = readlink(unix.AT_FDCWD, fdPath(fd))
				must(t, err)
				unix.Close(fd)
			}
			if got != want {
				t.Errorf("%s by %s: %v, want %v", name, way, got, want)
			}
		}
	}
}

func TestErrorsNameThePathAndTheRoot(t *testing.T) {
	root, dir := hostile(t)
	_, err := root.Open("a/b", unix.O_PATH, Within)
	if err == nil || err.Error() != "open a/b in the image: too many levels of symbolic links" {
		t.Error(err)
	}
	_, err = OpenRoot(filepath.Join(dir, "no"), "the image")
	if err == nil || err.Error() != "open the image, "+dir+"/no: no such file or directory" {
		t.Error(err)
	}
	outside, err := unix.Open(dir, unix.O_PATH, 0)
	must(t, err)
	defer unix.Close(outside)
	if at, err := root.PathOf(outside); err == nil {
		t.Errorf("what is outside of the tree is at %s", at)
	}
}

// A container's filter answers in the place of the kernel.
func TestWithoutOpenat2(t *testing.T) {
	root, _ := hostile(t)
	for _, answer := range []unix.Errno{unix.ENOSYS, unix.EPERM, unix.EAGAIN} {
		done := make(chan any)
		go func() {
			runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
			if err := refuseOpenat2(answer); err != nil {
				done <- err
				return
			}
			if _, err := unix.Openat2(root.fd, ".", &unix.OpenHow{}); !errors.Is(err, answer) {
				t.Errorf("the filter answers %v", err)
			}
			done <- led(t, root, func() (int, error) { return Open(root.fd, "deep/up/secret", unix.O_RDONLY, Within) })
		}()
		if got := <-done; got != "/outside/secret" {
			t.Errorf("%v: %v", answer, got)
		}
	}
}

// refuseOpenat2 makes the call fail for this thread.
func refuseOpenat2(answer unix.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_OPENAT2, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(answer)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
