// Package lsm finds out what the security modules of the kernel, AppArmor and
// SELinux, can do to confine a step beyond what the sandbox does by itself.
//
// Nothing here loads a policy: that takes rights over the machine, and other
// container tools have mostly done it. What is there is tried, by asking the kernel
// for it on a thread that ends at once, and used only if it cannot keep steps from
// working.
package lsm

// Profile confines a program from when it is executed on.
type Profile struct {
	Name  string // of the profile or label
	Attr  string // the file in /proc/thread-self/attr to write Text to
	Text  string
	Files string // label of file systems that are made for the step, if it needs one
}

// Module is a security module of the kernel.
type Module struct {
	Name    string
	Profile *Profile // of steps; nil for none
	Reason  string   // why there is none
}
