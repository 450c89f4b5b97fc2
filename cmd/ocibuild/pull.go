package main

import (
	"context"
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/internal/progress"
	"github.com/ocibuild/ocibuild/internal/source/wait"
)

func (c *cli) pullCommand() *cobra.Command {
	var (
		f        registryFlags
		platform string
		quiet    bool
	)
	cmd := &cobra.Command{
		Use: "pull NAME", Short: "Bring an image from its registry into the store", Args: between(1, 1),
		RunE: c.do(func(ctx context.Context, args []string) error {
			p, err := onePlatform(platform)
			if err != nil {
				return err
			}
			if p == nil {
				p = &ocispec.Platform{}
			}
			return c.pull(ctx, &f, args[0], *p, quiet)
		}),
	}
	cmd.Flags().StringVar(&platform, "platform", "", "`PLATFORM` of the image, such as linux/arm64")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only the image's digest, on standard output")
	f.add(cmd.Flags())
	return cmd
}

func (c *cli) pull(ctx context.Context, f *registryFlags, ref string, p ocispec.Platform, quiet bool) error {
	named, err := name(ref)
	if err != nil {
		return err
	}
	s, err := c.openStore(f)
	if err != nil {
		return err
	}
	mode := "auto"
	if quiet {
		mode = "quiet"
	}
	face, _, err := c.face(mode)
	if err != nil {
		return err
	}
	step := digest.FromString(named.String())
	tell := func(e progress.Event) {
		e.Time, e.Step, e.Name = time.Now(), step, "pull "+familiar(ref)
		face.Event(e)
	}
	tell(progress.Event{Kind: progress.Start})
	ctx = wait.With(ctx, func(text string) { tell(progress.Event{Kind: progress.Warn, Data: []byte(text)}) })
	img, err := s.images.Pull(ctx, named.String(), p, func(blob digest.Digest, current, total int64) {
		tell(progress.Event{Kind: progress.Status, ID: blob.String(), Current: current, Total: total})
	})
	if err != nil {
		tell(progress.Event{Kind: progress.Error, Error: err.Error()})
		return errors.Join(err, face.Close())
	}
	tell(progress.Event{Kind: progress.Done})
	if err := face.Close(); err != nil {
		return err
	}
	if quiet {
		return c.printf("%s\n", img.Digest)
	}
	return c.transferred("pulled", img.Digest.String(), named.String(), s)
}
