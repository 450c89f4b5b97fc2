// Package sandbox runs one command in namespaces of its own.
//
// [Start] gives the command of a [Spec] a root directory, fresh /proc, /dev and
// /sys, the mounts it asks for, and no more rights than a Docker container has;
// [Process.Wait] returns when it and everything it started are dead and every
// trace of the mounts is gone from the root directory.
//
// The caller needs CAP_SYS_ADMIN, as root or in a user namespace, and a mount
// namespace that it does not share. Any number of steps may run at a time, each
// with a root directory of its own. Linux 5.12 or newer; elsewhere Start tells so.
package sandbox
