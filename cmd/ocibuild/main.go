// Command ocibuild builds OCI images from Dockerfiles, keeps them in a local
// store, and runs, moves and names them. It only turns flags into calls of the
// packages below it and what they return into lines and exit codes.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	saveMemory()
	prepare()
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(signals, syscall.SIGHUP) // the terminal is closed
	}
	c := &cli{args: os.Args[1:], stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, signals: signals}
	os.Exit(c.run(context.Background()))
}
