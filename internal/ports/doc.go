// Package ports holds the test that the module compiles on every port of Go it
// is meant for: each package is type-checked for each port, and no code is made,
// which takes seconds where "go vet" takes minutes.
package ports
