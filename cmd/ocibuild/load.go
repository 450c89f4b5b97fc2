package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ocibuild/ocibuild/cmd/ocibuild/archive"
)

func (c *cli) loadCommand() *cobra.Command {
	var from string
	var names []string
	cmd := &cobra.Command{
		Use: "load", Short: "Take images from an archive or a folder into the store", Args: between(0, 0),
		Long: `Take images from an OCI archive, an OCI layout folder or a docker archive into
the store. Every byte is checked against its digest before an image gets its name.`,
		RunE: c.do(func(ctx context.Context, _ []string) error { return c.load(ctx, from, names) }),
	}
	cmd.Flags().StringVarP(&from, "input", "i", "-", "`PATH` of the archive or folder; - is standard input")
	cmd.Flags().StringArrayVarP(&names, "tag", "t", nil, "`NAME[:TAG]` for the image, if there is only one, in place of its own")
	return cmd
}

func (c *cli) load(ctx context.Context, from string, names []string) (err error) {
	for i := range names {
		if names[i], err = tagName(names[i]); err != nil {
			return err
		}
	}
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	images, err := archive.Load(ctx, s.images, from, c.stdin)
	if err != nil {
		return fmt.Errorf("load %s: %w", from, err)
	}
	if len(names) > 0 {
		if len(images) != 1 {
			return usagef("--tag: there are %d images in %s, not one", len(images), from)
		}
		images[0].Names = names
	}
	for _, img := range images {
		if err := c.loaded(s, img); err != nil {
			return err
		}
	}
	return nil
}

// loaded names an image and says so.
func (c *cli) loaded(s *store, img archive.Image) error {
	for _, n := range img.Names {
		if err := s.dir.Tag(n, img.Descriptor); err != nil {
			return fmt.Errorf("tag %s: %w", n, err)
		}
		if err := c.printf("loaded %s %s\n", img.Descriptor.Digest, printable(familiar(n))); err != nil {
			return err
		}
	}
	if len(img.Names) == 0 {
		return c.printf("loaded %s without a name\n", img.Descriptor.Digest)
	}
	return nil
}
