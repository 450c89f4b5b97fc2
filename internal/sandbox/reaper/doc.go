// Package reaper keeps the processes of a step together where there is no process
// namespace that would: whatever a step starts and leaves behind, it is found and
// killed when the step's command has ended, or when the builder is no more.
//
// The reaper is this same program, started again under the name [Name]; an init
// function notices the name and never returns. It starts the stage of a step and
// is the one to whom the kernel gives the step's orphans (PR_SET_CHILD_SUBREAPER).
// Where the kernel knows no such thing, it goes by the sessions that the step has
// made; then one step may run at a time ([Adopts]). A step that runs as root can
// kill it: this is no boundary, but order.
//
// As with package stage, an import here makes every RUN slower.
package reaper

// Name is argv[0] of a reaper.
const Name = "ocibuild-reaper"

// The files a reaper is born with, beside the standard files and the two pipes of
// the stage, which follow them and are passed on.
const (
	controlFD = 5 // a pipe: numbers of signals for the command, a byte each; at its end all is killed
	statusFD  = 6 // a pipe: the wait status of the command as a decimal number, when nothing is left
	holdFD    = 7 // kept open until then
)
