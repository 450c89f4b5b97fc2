package graph

import "fmt"

// LineError is an error about a place in a Dockerfile.
type LineError struct {
	Span Span
	Err  error
}

// Error returns "Dockerfile:7: …".
func (e *LineError) Error() string {
	if at := e.Span.String(); at != "" {
		return fmt.Sprintf("%s: %v", at, e.Err)
	}
	return e.Err.Error()
}

// Unwrap returns the error without its place.
func (e *LineError) Unwrap() error { return e.Err }
