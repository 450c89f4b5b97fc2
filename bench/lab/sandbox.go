package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/snapshot"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// Sandbox runs commands as builds do, by a worker of its own on the best rung
// there is. It is the code that this program was built with, not the binary.
type Sandbox struct {
	client  *worker.Client
	request worker.Request
}

// NewSandbox starts a worker on the store. What it runs stands on an image there.
func (o *Ocibuild) NewSandbox(ctx context.Context, image string, args ...string) (*Sandbox, error) {
	said, err := output(ctx, o.binary, "inspect", "--store", o.store, image)
	if err != nil {
		return nil, err
	}
	var about struct{ Layers []snapshot.Layer }
	var blobs struct{ Layers []struct{ Digest string } }
	if err := errors.Join(json.Unmarshal([]byte(said), &about), json.Unmarshal([]byte(said), &blobs)); err != nil {
		return nil, fmt.Errorf("inspect %s: %w", image, err)
	}
	for i, b := range blobs.Layers {
		about.Layers[i].Blob = filepath.Join(o.store, "blobs", "sha256", strings.TrimPrefix(b.Digest, "sha256:"))
	}
	s := &Sandbox{}
	s.request.Layers = about.Layers
	s.request.Spec = sandbox.Spec{Args: args, Env: []string{"PATH=/bin"}, ResolvConf: []byte("nameserver 127.0.0.1\n"), Hosts: []byte("127.0.0.1 localhost\n")}
	s.client, err = worker.Start(ctx, worker.Options{Store: o.store})
	return s, err
}

// Run runs the command once, from the mounting of its layers until all of its
// processes are gone.
func (s *Sandbox) Run(ctx context.Context) (Usage, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return Usage{}, err
	}
	defer null.Close()
	request := s.request // the worker's answer changes nothing of it
	began := time.Now()
	x, err := s.client.Exec(ctx, &request, sandbox.Stdio{Stdout: null, Stderr: null})
	wall := time.Since(began)
	if err != nil {
		return Usage{}, err
	}
	if x.ExitCode != 0 {
		err = fmt.Errorf("%q: exit code %d: %s", request.Spec.Args, x.ExitCode, x.Reason)
	}
	return Usage{Wall: wall}, errors.Join(err, x.Discard())
}

// Close ends the worker.
func (s *Sandbox) Close() error { return s.client.Close() }
