// Package stage is the first process of a sandbox: it builds the mounts of one
// step, gives up its rights and becomes the step's command.
//
// It is this same program, started again under the name [Name]. Its init
// function notices the name and never returns, so main is not reached.
//
// Why an init in a package of its own that imports nearly nothing: Go
// initialises packages in the order of their imports, and the full program
// brings protobuf descriptors, templates and compression tables that cost
// several milliseconds of CPU. A package that needs only the system call
// packages is ready long before those, and so a step starts in a fraction of
// the time. Adding an import here makes every RUN slower.
//
// Everything happens on the main thread, to which Go pins initialisers:
// credentials, capabilities and the system call filter belong to a thread,
// and execve keeps the calling thread's.
package stage
