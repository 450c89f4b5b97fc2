// Package bundle says a step in the words of an OCI runtime, such as runc or
// crun, which then runs its process in place of this program.
//
// The stage still builds the tree: the root, /dev, and the mounts of the step,
// resolved inside the root and made as ever. What it leaves to the runtime is
// what only the new process can have: namespaces, /proc, /sys, the protection of
// both, the user, capabilities, limits and the system call filter.
//
// Steps come out alike but for little: runc passes standard output and error on
// through pipes of its own, so that lines of the two may change places; crun
// gives a script that is named by a relative path its absolute one; and a step
// without PATH is given one.
package bundle
