package main

import (
	"strings"
	"testing"
)

// TestParity builds every case and compares it with what BuildKit built.
func TestParity(t *testing.T) {
	var out strings.Builder
	err := run(t.Context(), nil, &out, t.Output())
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
}
