// Package threats holds no code, only tests: each tries one of the attacks that
// builders of images have suffered from, or one of the faults that they have
// not survived, against the whole of ours. A test is named by the row of the
// threat model that it stands for; README.md lists the rows without a test,
// and why.
//
// A refused attack means: the build fails with one line that says what and
// where, nothing outside of the store was touched, no process, mount or
// temporary file is left, and the next build works. What is only odd has to
// work.
package threats
