package main

import (
	"fmt"
	"strings"

	"github.com/ocibuild/ocibuild/builder"
)

// isolationUsage is the help of --isolation, for what it keeps apart.
func isolationUsage(what string) string {
	names := strings.Join(builder.Isolations(), ", ")
	if names == "" {
		names = "there is none outside Linux"
	}
	return fmt.Sprintf("`WAY` of keeping %s apart from this machine, the best that\nworks unless one is named: %s", what, names)
}

// runtimeUsage is the help of --runtime, for what it runs.
func runtimeUsage(what string) string {
	return fmt.Sprintf("`PROGRAM` that runs %s, an OCI runtime: runc, crun, runsc or\na path, in place of the sandbox that is built in", what)
}
