package main

import (
	"context"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/builder/output"
)

func (c *cli) saveCommand() *cobra.Command {
	var to, format, platform string
	cmd := &cobra.Command{
		Use: "save NAME", Short: "Write an image of the store to an archive or a folder", Args: between(1, 1),
		RunE: c.do(func(ctx context.Context, args []string) error { return c.save(ctx, args[0], to, format, platform) }),
	}
	cmd.Flags().StringVarP(&to, "output", "o", "-", "`PATH` of the archive or folder; - is standard output")
	cmd.Flags().StringVar(&format, "format", "", "`FORMAT`: oci-archive, docker-archive or oci-dir, which is the\ndefault for a folder that exists and a path that ends in /")
	cmd.Flags().StringVar(&platform, "platform", "", "`PLATFORM` of an index to write alone, such as linux/arm64")
	return cmd
}

func (c *cli) save(ctx context.Context, arg, to, format, platform string) error {
	p, err := onePlatform(platform)
	if err != nil {
		return err
	}
	sink, err := c.saveSink(to, format)
	if err != nil {
		return err
	}
	s, err := c.openStore(nil)
	if err != nil {
		return err
	}
	named, err := name(arg)
	if err != nil {
		return err
	}
	var names []string
	if _, ok := named.(reference.Digested); !ok {
		names = []string{named.String()}
	}
	_, err = s.hand(ctx, sink, arg, p, names...)
	return err
}

func (c *cli) saveSink(to, format string) (builder.Sink, error) {
	if format == "" {
		format = "oci-archive"
		if fi, err := os.Stat(to); strings.HasSuffix(to, "/") || err == nil && fi.IsDir() {
			format = "oci-dir"
		}
	}
	switch {
	case to == "":
		return nil, usagef("--output is empty")
	case format == "oci-dir" && to != "-":
		return &output.Layout{Dir: to}, nil
	case format == "oci-dir":
		return nil, usagef("--format oci-dir wants a folder: -o FOLDER")
	case format != "oci-archive" && format != "docker-archive":
		return nil, usagef("--format %q: not one of oci-archive, oci-dir, docker-archive", format)
	case to != "-":
		return &output.Archive{Path: to, Docker: format == "docker-archive"}, nil
	case term.IsTerminal(int(c.stdout.Fd())):
		return nil, usagef("standard output is a terminal: name a file with -o")
	}
	return &output.Archive{Writer: c.stdout, Docker: format == "docker-archive"}, nil
}
