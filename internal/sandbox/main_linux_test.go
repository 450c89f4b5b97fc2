package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/owner"
)

// The tests run several times, in processes of their own: as root, and as root
// of a user namespace with many ids and with one, which is an ordinary user. All
// have a private mount namespace and a private temporary directory.
const (
	modeVar    = "OCIBUILD_SANDBOX_TEST"
	modeRoot   = "root"
	modeUser   = "userns"
	modeSingle = "userns-single"
	firstID    = 100000
	manyIDs    = 65536
	busybox    = "/bin/busybox"
	secretEnv  = "CANARY=of the builder"
)

func TestMain(m *testing.M) {
	if root := os.Getenv(terminalVar); root != "" {
		os.Exit(onTerminal(root))
	}
	if what := os.Getenv(probeVar); what != "" {
		os.Exit(probe(what))
	}
	if os.Getenv(modeVar) != "" {
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	code := 0
	for _, mode := range []string{modeRoot, modeUser, modeSingle} {
		code = max(code, again(mode))
	}
	os.Exit(code)
}

func again(mode string) int {
	if mode != modeSingle && os.Getuid() != 0 {
		fmt.Printf("SKIP mode %s: the tests were started by an ordinary user, who has one id\n", mode)
		return 0
	}
	dir, err := os.MkdirTemp("", "sandbox-test-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool {
		return strings.HasPrefix(a, "-test.testlogfile") // another user cannot write there
	})
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), modeVar+"="+mode, "TMPDIR="+dir, secretEnv)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if mode != modeRoot {
		first, count := os.Getuid(), 1
		if first == 0 {
			first = firstID
			if mode == modeUser {
				count = manyIDs
				cmd.SysProcAttr.GidMappingsEnableSetgroups = true
			}
			if err := os.Chown(dir, first, first); err != nil {
				fmt.Println(err)
				return 1
			}
		}
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: first, Size: count}}
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.Credential = &syscall.Credential{NoSetGroups: count == 1}
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = ids, ids
	}
	fmt.Println("=== mode", mode)
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Printf("SKIP mode %s: no namespaces here: %v\n", mode, err)
	}
	return 0
}

func settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", os.TempDir(), "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a temporary directory: %w", err)
	}
	return nil
}

func inUserNamespace() bool { return os.Getenv(modeVar) != modeRoot }

// owners tells whether steps are to believe that there are other ids than one.
func owners() bool { return os.Getenv(modeVar) == modeSingle }

// needIDs skips tests that become another user where only one id is mapped.
func needIDs(t *testing.T) {
	t.Helper()
	if owners() {
		return
	}
	m, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || len(strings.Fields(string(m))) < 3 || strings.Fields(string(m))[2] == "1" {
		t.Skip("SKIPPED: only one user id is mapped here")
	}
}

// needTrueIDs skips tests that look where owners and rights of another user
// than root do not show when only one id is mapped.
func needTrueIDs(t *testing.T) {
	t.Helper()
	if needIDs(t); owners() {
		t.Skip("SKIPPED: the kernel knows one user id only")
	}
}

// chown changes the owner of a file as a layer would have it.
func chown(t *testing.T, name string, uid, gid int) {
	t.Helper()
	if owners() {
		must(t, owner.Set(name, false, owner.Owner{UID: uint32(uid), GID: uint32(gid)}))
		return
	}
	must(t, os.Lchown(name, uid, gid))
}

// ownerOf is whom a file of a layer belongs to.
func ownerOf(t *testing.T, name string) (uid, gid uint32) {
	t.Helper()
	if owners() {
		o, err := owner.Get(name, false)
		must(t, err)
		return o.UID, o.GID
	}
	var st unix.Stat_t
	must(t, unix.Lstat(name, &st))
	return st.Uid, st.Gid
}

// image is an overlay over a small image, as the worker makes it.
type image struct {
	t                  *testing.T
	lower, upper, root string
}

const passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"
const group = "root:x:0:\nwheel:x:10:root,app\napp:x:1000:\nextra:x:2000:app\n"

// newImage makes an image with busybox, changed by the given functions.
func newImage(t *testing.T, changes ...func(lower string)) *image {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Skipf("SKIPPED: a static busybox is needed (package busybox-static): %v", err)
	}
	base := t.TempDir()
	must(t, os.Chmod(base, 0o755))
	must(t, os.Chmod(filepath.Dir(base), 0o755))
	im := &image{t, base + "/lower", base + "/upper", base + "/root"}
	for _, d := range []string{"lower/bin", "lower/etc", "lower/tmp", "lower/root", "upper", "work", "root"} {
		must(t, os.MkdirAll(filepath.Join(base, d), 0o755))
	}
	must(t, os.WriteFile(im.lower+"/bin/busybox", program, 0o755))
	for _, name := range strings.Fields("sh ls cat true id env pwd sleep mount unshare mkdir mv ln rm touch stat grep kill ps echo test readlink find chmod head tr ip nc mknod") {
		must(t, os.Symlink("busybox", im.lower+"/bin/"+name))
	}
	must(t, os.WriteFile(im.lower+"/etc/passwd", []byte(passwd), 0o644))
	must(t, os.WriteFile(im.lower+"/etc/group", []byte(group), 0o644))
	for _, change := range changes {
		change(im.lower)
	}
	// All names first: reading a directory changes its time.
	names := []string{im.upper}
	must(t, filepath.WalkDir(im.lower, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	for _, name := range names {
		times := []unix.Timespec{{Sec: 1000000000, Nsec: 5}, {Sec: 1100000000, Nsec: 7}}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, name, times, unix.AT_SYMLINK_NOFOLLOW))
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work", im.lower, im.upper, base)
	if inUserNamespace() {
		options += ",userxattr"
	}
	if err := unix.Mount("overlay", im.root, "overlay", 0, options); err != nil {
		t.Skipf("SKIPPED: no overlay here: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(im.root, unix.MNT_DETACH)) })
	return im
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// result is what came out of a step.
type result struct {
	code     int
	out      string
	start    error // of Start
	err      error // of Wait
	duration time.Duration
}

// run runs a step to its end. Both outputs come as one.
func (im *image) run(s Spec) result { return im.runCtx(context.Background(), s) }

func (im *image) sh(script string) result { return im.run(Spec{Args: []string{"sh", "-c", script}}) }

func (im *image) runCtx(ctx context.Context, s Spec) result {
	im.t.Helper()
	s.Rootfs, s.Owners = im.root, owners()
	r, w, err := os.Pipe()
	must(im.t, err)
	defer r.Close()
	begin := time.Now()
	p, err := Start(ctx, &s, Stdio{Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return result{code: -1, start: err}
	}
	var out bytes.Buffer
	_, err = io.Copy(&out, r)
	must(im.t, err)
	res := result{out: out.String()}
	res.code, res.err = p.Wait()
	res.duration = time.Since(begin)
	return res
}

// ok fails the test unless the step ended well.
func (r result) ok(t *testing.T) string {
	t.Helper()
	if r.start != nil || r.err != nil || r.code != 0 {
		t.Fatalf("step ended with code %d, start %v, wait %v, output:\n%s", r.code, r.start, r.err, r.out)
	}
	return r.out
}

// changed lists what the step left in the upper directory, without directories
// that are there only because something below them was touched.
func (im *image) changed() []string {
	im.t.Helper()
	var names []string
	must(im.t, filepath.WalkDir(im.upper, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path, im.upper)
		var now, was unix.Stat_t
		must(im.t, unix.Lstat(path, &now))
		same := unix.Lstat(im.lower+name, &was) == nil && now.Mode == was.Mode && now.Mtim == was.Mtim &&
			now.Atim == was.Atim && d.IsDir()
		if !same {
			names = append(names, name)
		}
		return nil
	}))
	return names
}

func clearCloseOnExec(t *testing.T, f *os.File) {
	t.Helper()
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, 0)
	must(t, err)
}

func readlink(t *testing.T, name string) string {
	t.Helper()
	target, err := os.Readlink(name)
	must(t, err)
	return target
}
