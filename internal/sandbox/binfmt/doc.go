// Package binfmt knows processors whose programs QEMU can run: how the kernel's
// binfmt_misc recognises these programs, and which file on this machine is the
// emulator.
//
// Architectures have the names that Go and OCI images use. Their variants make
// no difference: one emulator runs them all.
package binfmt
