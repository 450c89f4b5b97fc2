package lab

import (
	"context"
	"os"
)

// Ocibuild is the binary under test with a store of its own.
type Ocibuild struct {
	lab           *Lab
	binary, store string
}

// NewStore makes an empty store.
func (l *Lab) NewStore(ctx context.Context) (*Ocibuild, error) {
	binary, err := l.Ocibuild(ctx)
	if err != nil {
		return nil, err
	}
	store, err := l.Dir("store")
	return &Ocibuild{lab: l, binary: binary, store: store}, err
}

// Build builds the context into image. Push sends it to the registry;
// without, it stays in the store.
func (o *Ocibuild) Build(ctx context.Context, dir, image string, push bool) (Usage, error) {
	args := []string{"build", "--store", o.store, "--insecure-registry", o.lab.Host(), "--progress", "plain", "-t", image}
	if push {
		args = append(args, "--push")
	}
	cmd := Command(ctx, o.binary, append(args, dir)...)
	return o.lab.metered(func() (Usage, error) { return Measure(cmd) })
}

// Tar builds the context and writes the image's files as a tar.
func (o *Ocibuild) Tar(ctx context.Context, dir, file string) (Usage, error) {
	return Measure(Command(ctx, o.binary, "build", "--store", o.store, "--progress", "plain", "-o", "type=tar,dest="+file, dir))
}

// Files builds the context and writes the image's files into a directory.
func (o *Ocibuild) Files(ctx context.Context, dir, dest string) (Usage, error) {
	return Measure(Command(ctx, o.binary, "build", "--store", o.store, "--progress", "plain", "-o", "type=local,dest="+dest, dir))
}

// Archive builds the context and writes the image into a file, as an OCI archive.
func (o *Ocibuild) Archive(ctx context.Context, dir, dest string) (Usage, error) {
	return Measure(Command(ctx, o.binary, "build", "--store", o.store, "--progress", "plain", "-o", "type=oci,dest="+dest, dir))
}

// Remove removes the store, so that nobody has to write it to the disk.
func (o *Ocibuild) Remove() error { return os.RemoveAll(o.store) }
