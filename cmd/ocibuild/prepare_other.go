//go:build !unix

package main

// prepare has nothing to do where there are neither umasks nor core dumps.
func prepare() {}
