// Package seccomp compiles Docker's default system call profile to a program
// for the kernel's filter, without libseccomp and so without cgo.
package seccomp
