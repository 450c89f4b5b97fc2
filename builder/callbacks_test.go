package builder

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/client/llb"

	"github.com/ocibuild/ocibuild/layer"
)

// sinkFuncs is a sink of two functions.
type sinkFuncs struct {
	layer func()
	write func()
}

func (s *sinkFuncs) Layer(context.Context, *layer.Layer) error {
	if s.layer != nil {
		s.layer()
	}
	return nil
}

func (s *sinkFuncs) Write(context.Context, *Result) error {
	if s.write != nil {
		s.write()
	}
	return nil
}

type readFunc func() (int, error)

func (f readFunc) Read([]byte) (int, error) { return f() }

type keychainFunc func() (authn.Authenticator, error)

func (f keychainFunc) Resolve(authn.Resource) (authn.Authenticator, error) { return f() }

func TestF2NilIsAnOptionError(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "1"})
	for field, change := range map[string]func(*Options){
		"secret":      func(o *Options) { o.Secrets = []Secret{{ID: "s"}} },
		"sinks":       func(o *Options) { o.Sinks = []Sink{nil} },
		"sinks/typed": func(o *Options) { o.Sinks = []Sink{(*sinkFuncs)(nil)} },
		"context":     func(o *Options) { o.Context, o.ContextData = "", (*strings.Reader)(nil) },
		"compression": func(o *Options) { o.Compression = (*nilCompression)(nil) },
	} {
		_, err := p.try(change)
		var oe *OptionError
		if !errors.As(err, &oe) || oe.Field != strings.TrimSuffix(field, "/typed") {
			t.Errorf("%s: error %v", field, err)
		}
	}
	o := Options{Store: p.store}
	var oe *OptionError
	if _, err := Solve(t.Context(), nil, o); !errors.As(err, &oe) || oe.Field != "definition" {
		t.Errorf("error %v", err)
	}
	var none context.Context
	if _, err := Build(none, p.options()); !errors.As(err, &oe) || oe.Field != "ctx" {
		t.Errorf("error %v", err)
	}
}

type nilCompression struct{ layer.Compression }

func TestF2PanicsAreErrors(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "1"})
	for name, change := range map[string]func(*Options){
		"Progress":       func(o *Options) { o.Progress = func(Event) { panic("mine") } },
		"Sinks[0].Layer": func(o *Options) { o.Sinks = []Sink{&sinkFuncs{layer: func() { panic("mine") }}} },
		"Sinks[0].Write": func(o *Options) { o.Sinks = []Sink{&sinkFuncs{write: func() { panic("mine") }}} },
		"ContextData":    func(o *Options) { o.Context, o.ContextData = "", readFunc(func() (int, error) { panic("mine") }) },
		"Compression":    func(o *Options) { o.Store, o.Compression = t.TempDir(), panicking{layer.Gzip} },
		"Registries.Keychain": func(o *Options) {
			o.DockerfileData = []byte("FROM localhost:1/nothing\n")
			o.Registries = &Registries{Keychain: keychainFunc(func() (authn.Authenticator, error) { panic("mine") })}
		},
	} {
		_, err := p.try(change)
		var ce *CallbackError
		if !errors.As(err, &ce) || ce.Name != name || ce.Value != "mine" || len(ce.Stack) == 0 {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

type panicking struct{ layer.Compression }

func (panicking) Append(_, _ []byte) ([]byte, error) { panic("mine") }

func TestF4CallbacksThatBlockDoNotHoldABuildUp(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "1"})
	held := make(chan struct{})
	block := func() { <-held }
	defer close(held)
	for name, change := range map[string]func(*Options){
		"progress": func(o *Options) { o.Progress = func(Event) { block() } },
		"sink":     func(o *Options) { o.Sinks = []Sink{&sinkFuncs{write: block}} },
		"context": func(o *Options) {
			o.Context, o.ContextData = "", readFunc(func() (int, error) { block(); return 0, io.EOF })
		},
		"keychain": func(o *Options) {
			o.DockerfileData = []byte("FROM localhost:1/nothing\n")
			o.Registries = &Registries{Keychain: keychainFunc(func() (authn.Authenticator, error) { block(); return nil, nil })}
		},
		"secret": func(o *Options) {
			o.DockerfileData = []byte("FROM scratch\nADD https://localhost:1/r.git /\n")
			o.Secrets = []Secret{{ID: "GIT_AUTH_TOKEN", Value: func() ([]byte, error) { block(); return nil, nil }}}
		},
	} {
		why := errors.New("no time left")
		ctx, end := context.WithCancelCause(t.Context())
		var ended time.Time
		time.AfterFunc(500*time.Millisecond, func() { ended = time.Now(); end(why) })
		o := p.options()
		change(&o)
		_, err := Build(ctx, o)
		if !errors.Is(err, why) || !errors.Is(err, context.Canceled) { // F5, too
			t.Errorf("%s: error %v", name, err)
			continue
		}
		if took := time.Since(ended); took > time.Second {
			t.Errorf("%s: the build returned %v after its context", name, took)
		}
	}
}

func TestF5OneErrorComesBare(t *testing.T) {
	p := newProject(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY missing /\n"})
	_, err := p.try(nil)
	if _, joined := err.(interface{ Unwrap() []error }); joined {
		t.Errorf("a %T: %v", err, err)
	}
}

func TestF6ErrorsCanBeToldApart(t *testing.T) {
	p := newProject(t, nil)
	var (
		noFile   *NoDockerfileError
		noSource *NoSourceError
		step     *StepError
	)
	if _, err := p.try(nil); !errors.As(err, &noFile) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	p.write("Dockerfile", "FROM scratch\nCOPY missing /\n")
	if _, err := p.try(nil); !errors.As(err, &noSource) || noSource.Path != "/missing" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	def, err := llb.Scratch().File(llb.Copy(llb.Scratch(), "missing", "/"), llb.WithCustomName("take it")).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Solve(t.Context(), def, Options{Store: p.store}); !errors.As(err, &step) || step.Step != "take it" || !errors.As(err, &noSource) {
		t.Errorf("error %v", err)
	}
}

func TestF8BytesAreOfOneBuild(t *testing.T) {
	base := newBaseRegistry(t)
	regs := &Registries{Counter: &Counter{}}
	var got [2]int64
	for i := range got {
		p := newProject(t, nil)
		o := p.options()
		o.DockerfileData, o.Registries = []byte("FROM "+base.ref+"\n"), regs
		res, err := Build(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		got[i] = res.Received
	}
	regs.Close()
	if got[0] == 0 || got[1] == 0 || got[1] > got[0]*3/2 {
		t.Errorf("received %v bytes; the second build counts the first one's", got)
	}
}
