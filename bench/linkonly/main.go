// Command linkonly links what a program with a builder in it links, and exits:
// the time below which no such program can be.
package main

import (
	_ "github.com/ocibuild/ocibuild/builder"        // linked, not used
	_ "github.com/ocibuild/ocibuild/builder/output" // linked, not used
)

func main() {}
