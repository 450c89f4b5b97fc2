package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Some of the answers fit several flags.
const (
	cacheIsStore  = "the cache is the local store: keep its folder (--store, OCIBUILD_STORE) from one build to the next"
	noCertificate = "--insecure-registry HOST allows a certificate that cannot be verified"
	noStepLimit   = "--cgroup-parent PATH puts each RUN into a control group that may have such a limit"
	leaveItOut    = "leave it out: no container is kept of a step"
)

// elsewhere says of a flag that other builders have for a build and this one has
// not what does the same here. It is a function so that no start makes the table.
func elsewhere(flag string) string {
	return map[string]string{
		// docker build and docker buildx build
		"load":        "without -o and --push the image goes into the local store; -o type=docker,dest=- writes what docker load reads",
		"cache-from":  cacheIsStore,
		"cache-to":    cacheIsStore,
		"attest":      "no attestations are made",
		"builder":     "there is no builder to choose: it is this program",
		"rm":          leaveItOut,
		"force-rm":    leaveItOut,
		"compress":    "there is no daemon that the context would be sent to",
		"squash":      "RUN and COPY with heredocs make few layers, and a last stage that copies from the others makes one",
		"cpu-shares":  noStepLimit,
		"cpu-period":  noStepLimit,
		"cpu-quota":   noStepLimit,
		"cpuset-cpus": noStepLimit,
		"cpuset-mems": noStepLimit,
		"memory-swap": noStepLimit,

		// kaniko's executor
		"context":                     "the context is the last argument",
		"context-sub-path":            "give that folder as the context; of a git repository it is URL#REF:FOLDER",
		"dockerfile":                  "-f FILE",
		"destination":                 "-t NAME --push",
		"no-push":                     "an image is pushed with --push only",
		"cache":                       "everything is cached, in the local store; --no-cache does every step anew",
		"cache-dir":                   cacheIsStore,
		"cache-repo":                  cacheIsStore,
		"custom-platform":             "--platform PLATFORM",
		"customPlatform":              "--platform PLATFORM",
		"digest-file":                 "--iidfile FILE, or --metadata-file FILE",
		"image-name-with-digest-file": "--metadata-file FILE",
		"insecure":                    "--insecure-registry HOST",
		"insecure-pull":               "--insecure-registry HOST",
		"oci-layout-path":             "-o type=oci,tar=false,dest=FOLDER",
		"reproducible":                "--build-arg SOURCE_DATE_EPOCH=0 and -o type=…,rewrite-timestamp=true",
		"single-snapshot":             "each instruction makes its layer; a last stage that copies from the others makes one",
		"skip-tls-verify":             noCertificate,
		"skip-tls-verify-pull":        noCertificate,
		"tar-path":                    "-o type=docker,dest=FILE",
		"tarPath":                     "-o type=docker,dest=FILE",

		// buildah build
		"authfile":   "credentials are in config.json of the folder that DOCKER_CONFIG names",
		"format":     "images are OCI; -o type=docker,dest=FILE writes Docker's archive",
		"layers":     "everything is cached; --no-cache does every step anew",
		"tls-verify": noCertificate,
	}[flag]
}

// flagError says what is wrong with a flag, and which one is meant if it is
// another builder's.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && (cmd.Name() == "build" || cmd.Parent() == nil) {
		if instead := elsewhere(unknown.GetSpecifiedName()); instead != "" {
			return usagef("%v; %s", err, instead)
		}
	}
	return usagef("%v", err)
}

// absent is the value of a flag that asks for what there is not. To be told that
// it is not wanted is fine.
type absent struct{ what string }

// Set implements pflag.Value.
func (a *absent) Set(s string) error {
	if wanted, err := strconv.ParseBool(s); err == nil && !wanted {
		return nil
	}
	return fmt.Errorf("no %s is made: leave it out, or say false", a.what)
}

// String implements pflag.Value.
func (a *absent) String() string { return "" }

// Type implements pflag.Value.
func (a *absent) Type() string { return "false" }
