package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/builder/output"
)

func (c *cli) pushCommand() *cobra.Command {
	f := &registryFlags{}
	var platform string
	cmd := &cobra.Command{
		Use: "push NAME [DESTINATION]", Short: "Push an image of the store to a registry", Args: between(1, 2),
		Long: `Push an image of the store to the registry of its name, or to DESTINATION.
What the registry has already is not sent. Of an index, the images for all
platforms are pushed.`,
		RunE: c.do(func(ctx context.Context, args []string) error {
			return c.push(ctx, f, args[0], args[len(args)-1], platform)
		}),
	}
	cmd.Flags().StringVar(&platform, "platform", "", "`PLATFORM` of an index to push alone, such as linux/arm64")
	f.add(cmd.Flags())
	return cmd
}

func (c *cli) push(ctx context.Context, f *registryFlags, from, dest, platform string) (err error) {
	to, err := tagName(dest)
	if err != nil {
		return err
	}
	p, err := onePlatform(platform)
	if err != nil {
		return err
	}
	s, err := c.openStore(f)
	if err != nil {
		return err
	}
	sink, err := output.NewRegistry(s.registries, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	r, err := s.hand(ctx, sink, from, p, to)
	if err != nil {
		return err
	}
	return c.transferred("pushed", r.Digest().String(), to, s)
}

// transferred is the last line of a push or a pull.
func (c *cli) transferred(what, digest, name string, s *store) error {
	n := s.registries.Counter
	_, err := fmt.Fprintf(c.stderr, "%s %s %s%s\n", what, digest, familiar(name), traffic(n.Received(), n.Sent()))
	return err
}
