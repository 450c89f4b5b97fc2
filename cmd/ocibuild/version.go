package main

import (
	"cmp"
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by releases with -ldflags -X.
var version string

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: between(0, 0),
		RunE: c.do(func(context.Context, []string) error {
			v := version
			if info, ok := debug.ReadBuildInfo(); ok {
				v = cmp.Or(v, info.Main.Version)
			}
			return c.printf("ocibuild %s %s/%s %s\n", cmp.Or(v, "(devel)"), runtime.GOOS, runtime.GOARCH, runtime.Version())
		}),
	}
}
