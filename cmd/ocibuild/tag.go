package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"
)

func (c *cli) tagCommand() *cobra.Command {
	return &cobra.Command{
		Use: "tag SOURCE NAME[:TAG]", Short: "Give an image of the store one more name", Args: between(2, 2),
		Long: "Give an image of the store one more name. SOURCE is a name, or the digest that a build printed.",
		RunE: c.do(c.tag),
	}
}

func (c *cli) tag(ctx context.Context, args []string) error {
	to, err := tagName(args[1])
	if err != nil {
		return err
	}
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	from, err := name(args[0])
	if err != nil {
		return err
	}
	desc, err := s.dir.Resolve(from.String()) // an index stays one
	if errors.Is(err, fs.ErrNotExist) {
		img, err := s.image(ctx, args[0], nil)
		if err != nil {
			return err
		}
		desc = img.Root
		desc.Platform = &img.Platform
	} else if err != nil {
		return err
	}
	return s.dir.Tag(to, desc)
}

func (c *cli) rmiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rmi NAME…", Short: "Remove names of images from the store", Args: between(1, -1),
		Long: `Remove names of images from the store.

What the image is made of stays, because other images and the build cache may
need it; nothing collects it yet.`,
		RunE: c.do(c.rmi),
	}
}

func (c *cli) rmi(_ context.Context, args []string) error {
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	var errs []error
	for _, arg := range args {
		errs = append(errs, c.untag(s, arg))
	}
	return errors.Join(errs...)
}

func (c *cli) untag(s *store, arg string) error {
	named, err := name(arg)
	if err != nil {
		return err
	}
	err = s.dir.Untag(named.String())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("image %q is not in the store %s", familiar(arg), s.dir.Path())
	}
	if err != nil {
		return err
	}
	return c.printf("removed %s\n", familiar(arg))
}
