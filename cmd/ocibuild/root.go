package main

import (
	"github.com/spf13/cobra"
)

const about = `ocibuild builds OCI images from Dockerfiles, without a daemon.

"ocibuild ." is "ocibuild build .": a CONTEXT that has the name of a command is
written with a slash ("./images"). Images go into the local store, a folder of
plain files, unless -o or --push says otherwise.

Exit codes: 0 built, 1 the build failed, 2 wrong usage, 130 interrupted.
--check ends with 1 when it finds something.
"ocibuild run" passes on the code of what it runs; 125 says that it could not.

The store is $OCIBUILD_STORE, or /var/lib/ocibuild for root and
$XDG_DATA_HOME/ocibuild for others. Credentials are those of
~/.docker/config.json and its helpers.`

// rootCommand is the build command with all others below it.
func (c *cli) rootCommand() *cobra.Command {
	root := c.buildCommand()
	root.Use, root.Short, root.Long = "ocibuild [build] [flags] CONTEXT", "", about
	root.Example = ""
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVar(&c.store, "store", "", "`FOLDER` of the local store")
	root.AddCommand(
		c.buildCommand(), c.doctorCommand(), c.imagesCommand(), c.inspectCommand(), c.loadCommand(), c.pullCommand(), c.pushCommand(),
		c.rmiCommand(), c.runCommand(), c.saveCommand(), c.tagCommand(), c.versionCommand(),
	)
	return root
}
