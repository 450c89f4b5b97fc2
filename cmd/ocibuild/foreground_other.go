//go:build !linux

package main

import "os"

// foreground has nothing to give back where nothing can be run.
func foreground(*os.File, bool) func() { return func() {} }
