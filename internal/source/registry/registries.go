package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/ocibuild/ocibuild/internal/failure"
	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// Registries reaches registries. The zero value is ready: credentials of the
// docker configuration, no mirrors, TLS everywhere but to this machine. Its
// fields must not change once it is in use; it is safe for concurrent use.
type Registries struct {
	// Keychain finds credentials; nil means ~/.docker/config.json with its
	// helpers, or podman's auth.json.
	Keychain authn.Keychain
	// Mirrors are asked before the registry they are listed under, in order:
	// "docker.io" → "mirror.example:5000" or "mirror.example/prefix". They see
	// their own credentials only, and nothing is pushed to them.
	Mirrors map[string][]string
	// Insecure hosts ("host" or "host:port") may be spoken to over http, or
	// over TLS that nobody vouches for. This machine's own loopback addresses
	// may always be spoken to over http.
	Insecure map[string]bool
	// TokenServers are hosts that may see credentials of registries in other
	// domains. Others get them of registries in their own domain only.
	TokenServers map[string]bool
	// Counter counts what goes over the network; nil counts nothing.
	Counter *Counter
	// Retries is how often a request that failed is made again, after
	// RetryDelay and then twice as long each time, up to 8 seconds. Zero means 8
	// times, a negative number never. Where both are zero, that takes about half
	// a minute, and no more than two minutes with a registry that fails slowly.
	Retries int
	// RetryDelay is the first pause; zero means a quarter of a second.
	RetryDelay time.Duration
	// UserAgent is sent with each request; empty means "ocibuild".
	UserAgent string

	once     sync.Once
	gate     *gate
	mu       sync.Mutex
	conns    map[string]*conn
	down     map[string]bool // mirrors that could not be reached
	rejected map[string]bool // "mirror digest": blobs that the mirror has wrong
	said     map[string]bool // what was said of mirrors

	stall time.Duration // how long a registry may be silent; tests shorten it
}

// Repository returns the repository of that full name ("docker.io/library/busybox").
func (r *Registries) Repository(full string) (*Repository, error) {
	named, err := reference.WithName(full)
	if err != nil {
		return nil, fmt.Errorf("repository %q: %w", full, err)
	}
	host, path := reference.Domain(named), reference.Path(named)
	if host == "" {
		return nil, fmt.Errorf("repository %q: no registry in its name", full)
	}
	p := &Repository{registries: r, full: full, host: host, path: path}
	for _, m := range r.Mirrors[host] {
		mirrorHost, prefix, _ := strings.Cut(strings.TrimSuffix(m, "/"), "/")
		e, err := r.endpoint(mirrorHost, strings.TrimPrefix(prefix+"/"+path, "/"))
		if err != nil {
			return nil, fmt.Errorf("mirror %q of %s: %w", m, host, err)
		}
		e.mirror = true
		p.mirrors = append(p.mirrors, e)
	}
	if p.home, err = r.endpoint(host, path); err != nil {
		return nil, fmt.Errorf("repository %q: %w", full, err)
	}
	return p, nil
}

// endpoint is one host that may have a repository.
type endpoint struct {
	host   string // as the user knows it
	repo   name.Repository
	mirror bool
}

func (r *Registries) endpoint(host, path string) (endpoint, error) {
	var opts []name.Option
	if r.clearAllowed(host) {
		opts = append(opts, name.Insecure) // https is still tried first
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{host: host, repo: reg.Repo(path)}, nil
}

// clearAllowed tells whether host may be spoken to over plain http.
func (r *Registries) clearAllowed(host string) bool {
	return r.Insecure[host] || loopback(host)
}

func loopback(host string) bool {
	h := hostname(host)
	ip := net.ParseIP(h)
	return h == "localhost" || ip != nil && ip.IsLoopback()
}

// hostname strips the port and the brackets of an IPv6 address.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.Trim(host, "[]")
}

// base returns the transport below authentication.
func (r *Registries) base() *gate {
	r.once.Do(func() { r.gate = newGate(r) })
	return r.gate
}

// conn returns the authenticated transport for an endpoint. from, if not empty,
// is a second repository of the same host that must be readable.
func (r *Registries) conn(ctx context.Context, e endpoint, action, from string) (*conn, error) {
	key := strings.Join([]string{e.repo.Name(), action, from}, " ")
	r.mu.Lock()
	c := r.conns[key]
	if c == nil {
		if r.conns == nil {
			r.conns = map[string]*conn{}
		}
		c = &conn{endpoint: e, stall: r.stall}
		r.conns[key] = c
	}
	r.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.auth != nil {
		return c, nil
	}
	scopes := []string{e.repo.Scope(action)}
	if from != "" {
		scopes = append(scopes, e.repo.Registry.Repo(from).Scope(transport.PullScope))
	}
	return c, r.connect(ctx, c, scopes)
}

func (r *Registries) connect(ctx context.Context, c *conn, scopes []string) error {
	keychain := r.Keychain
	if keychain == nil {
		keychain = userKeychain{}
	}
	auth, err := failure.Await(ctx, "Registries.Keychain", func() (authn.Authenticator, error) {
		return authn.Resolve(ctx, keychain, c.endpoint.repo)
	})
	if err != nil {
		return &Error{Host: c.endpoint.host, mirror: c.endpoint.mirror, Err: fmt.Errorf("credentials: %w", err)}
	}
	c.user = userOf(ctx, auth)
	c.guard = &credentialGuard{home: c.endpoint.repo.RegistryStr(), trusted: r.TokenServers, inner: r.base()}
	return r.retry(ctx, c.endpoint, func() error {
		watched, w := wait.Start(ctx, "the answer of registry "+c.endpoint.host+" to the first request", cmp.Or(r.stall, answerLimit))
		defer w.Stop()
		rt, err := transport.NewWithContext(watched, c.endpoint.repo.Registry, auth, c.guard, scopes)
		var network *url.Error
		if errors.As(err, &network) {
			err = &transportError{w.Cause(c.guard.cause(err))}
		}
		if err != nil {
			return c.explain(err)
		}
		c.auth, c.plain = rt, r.base()
		return nil
	})
}

// Close gives back idle connections. The registries can still be used.
func (r *Registries) Close() {
	g := r.base()
	g.verified.CloseIdleConnections()
	g.unverified.CloseIdleConnections()
}
