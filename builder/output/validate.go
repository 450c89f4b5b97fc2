package output

import (
	"io"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/failure"
)

// required refuses an empty field of an output.
func required(output, field, value string) error {
	if value == "" {
		return &builder.OptionError{Field: output, Reason: field + " is empty"}
	}
	return nil
}

func pathOrWriter(output, path string, w io.Writer) error {
	if path == "" && w == nil {
		return &builder.OptionError{Field: output, Reason: "neither a path nor a writer is set"}
	}
	return nil
}

// guardedWriter is the caller's writer, which goroutines of ours call: a panic
// there would end the program.
type guardedWriter struct {
	name string
	w    io.Writer
}

func (g guardedWriter) Write(p []byte) (n int, err error) {
	err = failure.Guard(g.name, func() error {
		var err error
		n, err = g.w.Write(p)
		return err
	})
	return n, err
}
