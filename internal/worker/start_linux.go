package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/internal/sandbox/bundle"
)

// argv0 is how the worker recognises itself.
const argv0 = "ocibuild-worker"

// self is this program. Not os.Executable: the file may have been replaced since.
const self = "/proc/self/exe"

// protocol is raised with each change of what client and worker say to each other:
// they may be two programs.
const protocol = 1

// rung is one way to get the rights that a worker needs.
type rung struct {
	name  string
	start func(context.Context, Options) (*Client, error)
	hint  func(error) string // what may help against the error
}

var rungs = []rung{
	{IsolationRoot, startRoot, rootHint},
	{IsolationUserns, startUserns, usernsHint},
	{IsolationUsernsSingle, startUsernsSingle, usernsSingleHint},
	{IsolationChroot, startChroot, chrootRungHint},
	{IsolationNone, startNone, noHint},
}

// tried tells whether Start tries a rung: the one that is asked for, or else each
// that can be had by who we are.
func (r *rung) tried(asked string) bool {
	switch {
	case asked != "":
		return asked == r.name
	case r.name == IsolationRoot, r.name == IsolationChroot:
		return os.Geteuid() == 0
	}
	return r.name != IsolationNone
}

// ladder is the rungs in the order in which they are tried. Root that has one id,
// in a user namespace, can give files to nobody else, and so is worse than what
// makes the other ids up.
func ladder() []rung {
	if os.Geteuid() != 0 || !oneID() {
		return rungs
	}
	var first, last []rung
	for _, r := range rungs {
		if r.name == IsolationUserns || r.name == IsolationUsernsSingle {
			first = append(first, r)
		} else {
			last = append(last, r)
		}
	}
	return append(first, last...)
}

// oneID tells whether this user namespace has a single user id.
func oneID() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	var inside, outside, count int64
	n, _ := fmt.Sscan(string(data), &inside, &outside, &count)
	return err == nil && n == 3 && count == 1 && strings.Count(string(data), "\n") == 1
}

func startNone(context.Context, Options) (*Client, error) {
	return nil, errors.New("no commands are run")
}

func noHint(error) string { return "" }

// Isolations are the names of the rungs, the best one first.
func Isolations() []string {
	var names []string
	for _, r := range rungs {
		names = append(names, r.name)
	}
	return names
}

// Start starts a worker on the best rung that works, which is found by trying:
// the worker mounts an overlay in the store before Start returns.
func Start(ctx context.Context, o Options) (*Client, error) {
	var err error
	if o.Store, err = filepath.Abs(o.Store); err != nil {
		return nil, err
	}
	if err := CheckIsolation(o.Isolation); err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	if o.Runtime != "" {
		if o.Runtime, err = bundle.Find(o.Runtime, os.Getenv("PATH")); err != nil {
			return nil, fmt.Errorf("runtime: %w", err)
		}
	}
	var tried []error
	for _, r := range ladder() {
		if !r.tried(o.Isolation) {
			continue
		}
		if err := o.fits(r.name); err != nil {
			if o.Isolation != "" {
				tried = append(tried, fmt.Errorf("isolation %s: %w", r.name, err))
			}
			continue
		}
		c, err := r.start(ctx, o)
		if err == nil {
			c.Isolation = r.name
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		tried = append(tried, fmt.Errorf("isolation %s: %w%s", r.name, err, r.hint(err)))
	}
	if err := probeStore(o.Store); err != nil { // of which each mode would speak in its own way
		tried = []error{err}
	}
	return nil, fmt.Errorf("no way to run build steps: %w", errors.Join(tried...))
}

func startRoot(ctx context.Context, o Options) (*Client, error) {
	p, c, err := spawn(o, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS})
	if err != nil {
		return nil, err
	}
	return greet(ctx, newClient(o, c, p), IsolationRoot)
}

func rootHint(err error) string {
	if os.Geteuid() != 0 {
		return "; it takes root"
	}
	if errors.Is(err, unix.EPERM) || strings.Contains(err.Error(), unix.EPERM.Error()) {
		return "; this root may not mount: in a container it needs CAP_SYS_ADMIN and a seccomp profile that allows mount, in a Kubernetes pod securityContext.privileged"
	}
	return ""
}

// greet tells the worker who it is and waits until it has shown that it works.
func greet(ctx context.Context, c *Client, isolation string) (*Client, error) {
	// Not killed at once: it would leave its temporary directory behind.
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(closeTime, func() { _ = c.proc.kill() }) })
	defer stop()
	k, err := c.call(&message{Kind: kindHello}, greeting{Protocol: protocol, Store: c.options.Store, Isolation: isolation, Runtime: c.options.Runtime, Limits: c.options.Limits, Path: os.Getenv("PATH")})
	var w welcome
	if err == nil {
		err = k.answer(ctx, &w)
	}
	if err != nil {
		if c.options.Program != "" {
			err = fmt.Errorf("worker program %s: %w", c.options.Program, err)
		}
		return nil, errors.Join(err, c.Close())
	}
	c.Trees = w.Trees
	return c, nil
}

// process is the child and what it said last.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when state is set
	err   error         // of Wait
	said  tail
}

// spawn executes a program, most often this binary again, as a worker. It inherits
// one socket and nothing else: no environment but for the race detector's, no files,
// no directory.
func spawn(o Options, attr *syscall.SysProcAttr) (*process, *conn, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "worker")
	defer theirs.Close()
	c, err := newConn(os.NewFile(uintptr(fds[0]), "worker"))
	if err != nil {
		return nil, nil, err
	}
	attr.Pdeathsig = syscall.SIGKILL
	p := &process{ended: make(chan struct{})}
	p.cmd = &exec.Cmd{
		Path: cmp.Or(o.Program, self), Args: []string{argv0}, Env: raceOptions(), Dir: "/",
		Stderr: &p.said, ExtraFiles: []*os.File{theirs}, SysProcAttr: attr,
	}
	started := make(chan error)
	go p.keep(started)
	if err := <-started; err != nil {
		_ = c.u.Close()
		return nil, nil, fmt.Errorf("start the worker: %w", err)
	}
	return p, c, nil
}

// raceOptions lets tests tell the race detector not to wait a second at the end
// of each worker, as it does without being told.
func raceOptions() []string {
	if o, ok := os.LookupEnv("GORACE"); ok {
		return []string{"GORACE=" + o}
	}
	return []string{}
}

// keep starts the child and waits for it on one thread: the kernel kills a child
// with PDEATHSIG when the thread that started it ends, not the process.
func (p *process) keep(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.ended)
}

func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// death explains why the worker cannot be spoken to.
func (p *process) death(cause error) error {
	_ = p.kill() // whatever it was doing, nobody hears of it any more
	<-p.ended
	text := "worker ended"
	if p.err != nil {
		text = fmt.Sprintf("worker died: %v", p.err)
	}
	if said := p.said.String(); said != "" {
		text += ": " + said
	}
	return fmt.Errorf("%s (%w)", text, cause)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const most = 8 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > most {
		t.buf = append([]byte(nil), t.buf[len(t.buf)-most:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
