package main

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// damage changes files of the store so that their sizes stay: damage STORE-GLOB.
// Of blobs, only the largest is changed.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: damage flip|empty GLOB")
	}
	all, err := filepath.Glob(filepath.Join(ts.Getenv("OCIBUILD_STORE"), args[1]))
	ts.Check(err)
	var largest []byte
	var path string
	for _, f := range all {
		data, err := os.ReadFile(f)
		ts.Check(err)
		if len(data) > len(largest) {
			largest, path = data, f
		}
	}
	if path == "" {
		ts.Fatalf("nothing matches %s", args[1])
	}
	changed := bytes.Clone(largest)
	if changed[len(changed)/2] ^= 4; args[0] == "empty" {
		changed = nil
	}
	ts.Check(os.WriteFile(path, changed, 0o600))
}
