// Package git shows the files of commits as trees. It runs the git program, in
// an environment of its own, and keeps what was fetched in the store, so that
// nothing is asked for twice.
package git
