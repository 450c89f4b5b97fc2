package main

import (
	"context"
	"fmt"
	"os"

	"github.com/ocibuild/ocibuild/internal/worker"
)

// canRunThrough tells whether commands can be run through an OCI runtime.
func canRunThrough(name string) error {
	err := canRun()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "probe-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := worker.Start(context.Background(), worker.Options{Store: dir, Runtime: name})
	if err != nil {
		fmt.Fprintf(os.Stderr, "scripts with --runtime %s are skipped: %v\n", name, err)
		return err
	}
	return c.Close()
}
