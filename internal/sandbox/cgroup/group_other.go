//go:build !linux

package cgroup

import "errors"

// Group is the control group of a step; there is none outside Linux.
type Group struct{}

// New says that control groups need Linux.
func New(Limits) (*Group, error) { return nil, errors.New("control groups need Linux") }

// Remove does nothing.
func (*Group) Remove() error { return nil }

// Kind is "none": control groups need Linux.
func Kind() string { return "none" }

// Try says that control groups need Linux.
func Try(l Limits) error {
	_, err := New(l)
	return err
}
