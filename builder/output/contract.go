package output

import "github.com/ocibuild/ocibuild/builder"

// Image is the builder's.
type Image = builder.Image

// Result is the builder's.
type Result = builder.Result

// Sink is the builder's.
type Sink = builder.Sink
