package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/faces"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/snapshot/kept"
)

// socketFD is where a worker finds its end of the socket.
const socketFD = 3

// An init function, because the worker is this same binary executed again, and
// a program that embeds the builder must not have to call anything for it. It
// ends the process before the program's own main.
func init() {
	if len(os.Args) == 1 && os.Args[0] == argv0 {
		os.Exit(workerMain())
	}
}

func workerMain() int {
	var st unix.Stat_t
	if err := unix.Fstat(socketFD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		fmt.Fprintln(os.Stderr, argv0+": is only started by ocibuild itself")
		return 125
	}
	unix.CloseOnExec(socketFD)
	closeInherited()
	c, err := newConn(os.NewFile(socketFD, "client"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	// A terminal sends these to the whole group. What they mean for the build is
	// the client's business. Caught, not ignored: a step would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	s, err := greeted(c)
	if err != nil {
		return 1
	}
	s.serve()
	runtime.KeepAlive(c) // collected, its socket would close while things are put away
	return 0
}

// closeInherited closes files that the embedding program leaves open in its
// children. The Go runtime's own ones are of no named file.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= socketFD {
			continue
		}
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			unix.Close(fd)
		}
	}
}

// greeted waits for the first message and sets the worker up as it says.
func greeted(c *conn) (*server, error) {
	m, files, err := c.receive()
	if err != nil {
		return nil, err
	}
	closeAll(files)
	answer := &message{ID: m.ID, Last: true}
	s, err := setUp(c, m)
	if err == nil {
		answer.Body, err = json.Marshal(welcome{Trees: s.how})
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return s, errors.Join(err, c.send(answer))
}

func setUp(c *conn, m *message) (s *server, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("worker: panic: %v\n%s", p, debug.Stack())
		}
	}()
	var g greeting
	if err := json.Unmarshal(m.Body, &g); err != nil || m.Kind != kindHello {
		return nil, fmt.Errorf("worker: not greeted: %w", errors.Join(err, errors.ErrUnsupported))
	}
	if g.Protocol != protocol {
		return nil, fmt.Errorf("worker: this program speaks version %d of the protocol and the builder version %d: they must be of one release", protocol, g.Protocol)
	}
	if err := becomeRoot(g.Isolation); err != nil {
		return nil, err
	}
	if err := isolate(g.Isolation); err != nil {
		return nil, err
	}
	dir, err := cache.OpenDir(g.Store)
	if err != nil {
		return nil, err
	}
	// Runtimes take no root that a symbolic link leads to.
	path, err := filepath.EvalSymlinks(dir.Path())
	if err != nil {
		return nil, err
	}
	if path != dir.Path() {
		if dir, err = cache.OpenDir(path); err != nil {
			return nil, err
		}
	}
	s = newServer(c, dir, &faces.Store{Dir: dir, Limits: g.Limits})
	s.emulation.path = g.Path
	// What the dead have left is of any rung: the next build may stand on another.
	if err := errors.Join(kept.Sweep(dir), snapshot.SweepTrees(dir)); err != nil {
		return nil, err
	}
	open := s.openMounted
	if g.Isolation == IsolationChroot {
		open = s.openWholes
	}
	if err := open(&g); err != nil {
		return nil, err
	}
	if err := s.useRuntime(context.Background(), g.Runtime); err != nil {
		return nil, errors.Join(err, s.trees.close())
	}
	return s, nil
}

// Remains tells whether workers that were killed have left something in a store
// that the next worker removes.
func Remains(dir *cache.Dir) bool { return snapshot.RemainsOfTrees(dir) || kept.Remains(dir) }

// openMounted opens the trees of a mode that has mounts, and shows that they can be
// used: overlays, or else flat ones.
func (s *server) openMounted(g *greeting) error {
	kind, err := flavour(s.dir, g.Isolation)
	if err != nil {
		return err
	}
	snaps, err := snapshot.NewManager(s.dir, kind)
	if err != nil {
		return err
	}
	snaps.Limits = g.Limits
	s.owned = kind == snapshot.Owned
	if err := probe(snaps); err != nil {
		if cerr := snaps.Close(); cerr != nil {
			return errors.Join(err, cerr)
		}
		return s.openFlatMounted(g, err)
	}
	s.trees, s.temp = overlays{snaps, &lazyFlats{open: func() (*kept.Manager, error) { return s.newFlat(g) }}}, snaps.Temp()
	s.how = snaps.How()
	return nil
}

// becomeRoot takes the identity that the mapping of ids has given the user.
func becomeRoot(isolation string) error {
	if isolation != IsolationUserns {
		return nil
	}
	// The groups of the user mean nothing to a build and cannot be dropped later.
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("worker: drop groups: %w", err)
	}
	if err := syscall.Setresgid(0, 0, 0); err != nil {
		return fmt.Errorf("worker: become group 0: %w", err)
	}
	if err := syscall.Setresuid(0, 0, 0); err != nil {
		return fmt.Errorf("worker: become user 0: %w", err)
	}
	return nil
}

// isolate closes what is still open towards the machine.
func isolate(isolation string) error {
	// Again: changing ids has cleared it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("worker: set parent death signal: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("worker: set dumpable: %w", err)
	}
	unix.Umask(0o022)
	if isolation == IsolationChroot {
		return nil // nothing is mounted
	}
	// No mount of a step may ever reach the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("worker: make mounts private: %w", err)
	}
	return nil
}

// flavour finds out which attributes overlayfs can use here: root of a
// container may be root of a user namespace without knowing it.
func flavour(dir *cache.Dir, isolation string) (snapshot.Flavour, error) {
	if isolation == IsolationUsernsSingle {
		return snapshot.Owned, probeOwners(dir)
	}
	path := filepath.Join(dir.Path(), "tmp")
	const name = "trusted.overlay.probe"
	if err := unix.Setxattr(path, name, []byte("y"), 0); err != nil {
		return snapshot.User, nil
	}
	_ = unix.Removexattr(path, name) // it means nothing to anybody
	return snapshot.Trusted, nil
}

// probe mounts an overlay, which is what everything here rests on.
func probe(snaps *snapshot.Manager) error {
	s, err := snaps.Prepare(context.Background(), nil, snapshot.Bare)
	if err != nil {
		return err
	}
	return s.Close()
}
