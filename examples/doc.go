// Package examples holds folders to build from, and programs that embed the library. Its test builds and runs them all.
package examples
