// Package confined runs programs with the rights that root has in a container of
// Docker's defaults: fourteen capabilities, and a system call filter under which
// nothing can be mounted and no namespace made. It is for tests of what works
// there, and imported by nothing else.
//
// A test binary that imports it starts other programs through itself: an init
// function recognises the name that [Command] gives it.
package confined
