//go:build unix && !linux

package git

import "syscall"

// endWithUs cannot be had outside Linux: git runs on until it has what it wants.
func endWithUs(*syscall.SysProcAttr) {}
