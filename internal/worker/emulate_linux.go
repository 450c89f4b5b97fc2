package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/internal/sandbox"
	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/snapshot"
)

// emulation knows how steps for other processors run here.
type emulation struct {
	path string // where to look for emulators, as in the environment variable PATH

	mu   sync.Mutex
	ways map[string]way // by architecture, those that have shown that they work
}

// way is the emulators that a step is given. None means that the processor
// itself, or what the machine has registered, runs it.
type way []binfmt.Emulator

// emulators returns what a step of that architecture needs; "" is the machine's.
func (s *server) emulators(ctx context.Context, arch string) (way, error) {
	if arch == "" || arch == runtime.GOARCH {
		return nil, nil
	}
	e := &s.emulation
	e.mu.Lock()
	defer e.mu.Unlock()
	if w, ok := e.ways[arch]; ok {
		return w, nil
	}
	w, err := s.findWay(ctx, arch)
	if err != nil {
		return nil, err
	}
	if e.ways == nil {
		e.ways = map[string]way{}
	}
	e.ways[arch] = w
	return w, nil
}

// findWay finds a way by trying: emulators of our own come first, so that a step
// runs alike on every machine, whatever is registered there.
func (s *server) findWay(ctx context.Context, arch string) (way, error) {
	program := binfmt.Program(arch)
	if program == nil {
		return nil, fmt.Errorf("programs for %s do not run on this %s machine", arch, runtime.GOARCH)
	}
	if s.wholes != nil {
		return nil, s.registered(ctx, arch)
	}
	if s.runtime != nil {
		err := s.try(ctx, program, nil)
		if err != nil {
			err = fmt.Errorf("programs for %s do not run on this %s machine, and an OCI runtime cannot be given an emulator for the step alone: %w; root can register one for the whole machine, with flag F, as systemd-binfmt does",
				arch, runtime.GOARCH, err)
		}
		return nil, err
	}
	own := way(binfmt.Find(s.emulation.path))
	own = slices.DeleteFunc(own, func(e binfmt.Emulator) bool { return e.Arch != arch && related(e.Arch) })
	found := slices.IndexFunc(own, func(e binfmt.Emulator) bool { return e.Arch == arch })
	var ways []way
	if found >= 0 {
		ways = append(ways, own)
	}
	if related(arch) { // most processors of the kind run it themselves
		ways = slices.Insert(ways, 0, way(nil))
	} else {
		ways = append(ways, nil)
	}
	var why error
	for _, w := range ways {
		err := s.try(ctx, program, w)
		if err == nil {
			return w, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if w != nil {
			why = err
		}
	}
	if found < 0 {
		return nil, fmt.Errorf("programs for %s do not run on this %s machine, and no statically linked %s is on PATH to run them: install the package qemu-user-static",
			arch, runtime.GOARCH, binfmt.Name(arch))
	}
	return nil, fmt.Errorf("programs for %s do not run on this %s machine, and %s cannot be registered for the step alone: %w; root can register it for the whole machine, with flag F, as systemd-binfmt does",
		arch, runtime.GOARCH, own[found].File, why)
}

// related tells whether this machine's processors are made to run programs of
// that architecture, too. Not every one of them does.
func related(arch string) bool {
	return platforms.Only(platforms.DefaultSpec()).Match(ocispec.Platform{OS: "linux", Architecture: arch})
}

// try runs the program as a step does, with nothing beside it.
func (s *server) try(ctx context.Context, program []byte, w way) (err error) {
	at, snap, err := s.trees.prepare(ctx, nil, snapshot.Root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	const name = "/program"
	if err := os.WriteFile(filepath.Join(at, name), program, 0o755); err != nil {
		return err
	}
	spec := &sandbox.Spec{Rootfs: at, Args: []string{name}, Emulators: w}
	done, err := s.through(spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	p, err := sandbox.Start(ctx, spec, sandbox.Stdio{})
	if err != nil {
		return err
	}
	code, err := p.Wait()
	if err == nil && code != 0 {
		err = fmt.Errorf("a program that does nothing ends with status %d", code)
	}
	return err
}
