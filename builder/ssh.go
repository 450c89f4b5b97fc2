package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/forward"
)

// SSH is an agent that RUN --mount=type=ssh,id=ID may speak to, or git for
// repositories over ssh, which takes the one called "default". Its keys never
// leave this process: steps can list them and have things signed, no more.
type SSH struct {
	ID string // empty means "default"
	// Paths is the socket of an agent, or files with private keys that are not
	// encrypted; none means the socket in $SSH_AUTH_SOCK.
	Paths []string
	// Raw passes on whatever is said to the one socket in Paths, which then need
	// not be an agent's at all.
	Raw bool
}

// maxKey bounds a file with a key, in bytes.
const maxKey = 100 << 10

// agents are the agents of a build.
type agents struct {
	serving map[string]forward.Serve

	ctx     context.Context // of the build
	mu      sync.Mutex
	sockets map[string]*forward.Socket // for git, once it has asked
}

// openAgents looks at all sockets and keys.
func openAgents(ctx context.Context, list []SSH) (*agents, error) {
	a := &agents{serving: map[string]forward.Serve{}, ctx: ctx, sockets: map[string]*forward.Socket{}}
	for _, s := range list {
		s.ID = cmp.Or(s.ID, "default")
		if a.serving[s.ID] != nil {
			return nil, &OptionError{"ssh", fmt.Sprintf("%s is given twice", s.ID)}
		}
		serve, err := s.open()
		if err != nil {
			return nil, &OptionError{"ssh", fmt.Sprintf("%s: %v", s.ID, err)}
		}
		a.serving[s.ID] = serve
	}
	return a, nil
}

// serve returns what speaks for an agent; nil if it is not given.
func (a *agents) serve(id string) forward.Serve { return a.serving[cmp.Or(id, "default")] }

// socket returns a socket for a program of this machine.
func (a *agents) socket(id string) (string, error) {
	serve := a.serve(id)
	if serve == nil {
		return "", fmt.Errorf("it needs the SSH agent %q, which is not given; pass --ssh %s", id, id)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sockets[id]; s != nil {
		return s.Path, nil
	}
	dir, err := os.MkdirTemp("", "agent-*") // not in the store: its path has to be short
	if err != nil {
		return "", fmt.Errorf("SSH agent %q: %w", id, err)
	}
	s, err := forward.Listen(a.ctx, dir, serve)
	if err != nil {
		return "", fmt.Errorf("SSH agent %q: %w", id, err)
	}
	a.sockets[id] = s
	return s.Path, nil
}

func (a *agents) close() error {
	var errs []error
	for _, s := range a.sockets {
		errs = append(errs, s.Close())
	}
	return failure.Join(errs...)
}

// open finds out what the paths are.
func (s *SSH) open() (forward.Serve, error) {
	paths := s.Paths
	if s.Raw && len(paths) != 1 {
		return nil, errors.New("raw wants exactly one socket")
	}
	if len(paths) == 0 {
		path := os.Getenv("SSH_AUTH_SOCK")
		if path == "" {
			return nil, errors.New("no agent: the variable SSH_AUTH_SOCK is not set; start one, or name a socket or a key")
		}
		paths = []string{path}
	}
	keys, _ := agent.NewKeyring().(agent.ExtendedAgent) // it is one, as its documentation says
	for _, path := range paths {
		st, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, err
		case st.Mode().Type() == fs.ModeSocket && len(paths) > 1:
			return nil, fmt.Errorf("%s is a socket, and must be the only path", path)
		case st.Mode().Type() == fs.ModeSocket && s.Raw:
			return rawSocket(path), nil
		case st.Mode().Type() == fs.ModeSocket:
			return agentSocket(path), nil
		case s.Raw:
			return nil, fmt.Errorf("%s is no socket", path)
		}
		if err := addKey(keys, path); err != nil {
			return nil, err
		}
	}
	return func(_ context.Context, c net.Conn) {
		serveAgent(c, func(request []byte) ([]byte, error) { return answer(keys, request), nil })
	}, nil
}

func addKey(keys agent.Agent, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return err
	}
	key, err := ssh.ParseRawPrivateKey(data)
	var encrypted *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &encrypted):
		return fmt.Errorf("the key %s is encrypted: add it to an agent with ssh-add, and pass that", path)
	case err != nil:
		return fmt.Errorf("%s holds no private key: %s", path, strings.TrimPrefix(err.Error(), "ssh: "))
	}
	return keys.Add(agent.AddedKey{PrivateKey: key})
}

const dialTime = 2 * time.Second

func dial(ctx context.Context, path string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "unix", path)
}

// agentSocket speaks with an agent that runs already, over a connection for each
// that is served. A step that cannot reach it is told so by its own ssh.
func agentSocket(path string) forward.Serve {
	return func(ctx context.Context, c net.Conn) {
		to, err := dial(ctx, path)
		if err != nil {
			return
		}
		defer to.Close()
		defer context.AfterFunc(ctx, func() { _ = to.Close() })()
		serveAgent(c, func(request []byte) ([]byte, error) {
			if err := writeFrame(to, request); err != nil {
				return nil, err
			}
			return readFrame(to)
		})
	}
}

// rawSocket passes on bytes, both ways, until both sides have said all.
func rawSocket(path string) forward.Serve {
	return func(ctx context.Context, c net.Conn) {
		to, err := dial(ctx, path)
		if err != nil {
			return
		}
		defer to.Close()
		defer context.AfterFunc(ctx, func() { _ = to.Close() })()
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{to, c}, {c, to}} {
			both.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // the other side sees an end, as without us
				if w, ok := way[0].(interface{ CloseWrite() error }); ok {
					_ = w.CloseWrite()
				}
			})
		}
		both.Wait()
	}
}
