package output

import "github.com/ocibuild/ocibuild/builder"

// Image and Sink are those of the builder.
type (
	Image = builder.Image
	Sink  = builder.Sink
)
