//go:build !linux

package lsm

// Modules lists none: other systems run no steps.
func Modules(string) []Module { return nil }
