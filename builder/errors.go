package builder

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/ocibuild/ocibuild/internal/plan"
	"github.com/ocibuild/ocibuild/internal/solve"
	"github.com/ocibuild/ocibuild/internal/source/registry"
)

// ErrNotFound and ErrUnauthorized are in the chain of an error of a registry
// that does not have what was asked for, or does not give it to us.
var (
	ErrNotFound     = registry.ErrNotFound
	ErrUnauthorized = registry.ErrUnauthorized
)

// RegistryError is what went wrong with a registry.
type RegistryError = registry.Error

// NoSourceError is a file that COPY or ADD wants and that is not there. It is an
// fs.ErrNotExist.
type NoSourceError = plan.NoSourceError

// StepError is an error of a step of a graph that came without a Dockerfile.
type StepError = solve.StepError

// NoDockerfileError is a Dockerfile that is not there. It is an fs.ErrNotExist.
type NoDockerfileError struct{ Path string }

// Error names the file.
func (e *NoDockerfileError) Error() string {
	return fmt.Sprintf("there is no file %s; name it with -f", e.Path)
}

// Is makes it be an fs.ErrNotExist.
func (e *NoDockerfileError) Is(target error) bool { return target == fs.ErrNotExist }

// checkContext refuses a nil context, which would crash, and what valid refuses.
func checkContext(ctx context.Context, valid func() error) error {
	if ctx == nil {
		return &OptionError{"ctx", "it is nil"}
	}
	return valid()
}
