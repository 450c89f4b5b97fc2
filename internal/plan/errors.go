package plan

import (
	"fmt"
	"io/fs"
)

// NoSourceError is a file to copy that is not there.
type NoSourceError struct{ Path string }

// Error names the file as its tree does.
func (e *NoSourceError) Error() string { return fmt.Sprintf("%q: not found", e.Path) }

// Is makes it be an fs.ErrNotExist.
func (e *NoSourceError) Is(target error) bool { return target == fs.ErrNotExist }
