package fuzz

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/ocibuild/ocibuild/conformance/suite"
)

func TestCasesCanBeWritten(t *testing.T) {
	for seed := range uint64(1000) {
		a := Case(seed)
		if again := Case(seed); !bytes.Equal(txtar.Format(a), txtar.Format(again)) {
			t.Fatalf("seed %d makes two cases", seed)
		}
		c, err := suite.NewCase("fuzz/"+strconv.FormatUint(seed, 10), "", txtar.Parse(txtar.Format(a)))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := c.Write(t.TempDir(), ""); err != nil {
			t.Errorf("seed %d: %v\n%s", seed, err, txtar.Format(a))
		}
	}
}

func TestShrinkTakesWhatDoesNotMatter(t *testing.T) {
	a := txtar.Parse([]byte("-- Dockerfile --\nFROM a\nCOPY --link --chown=1:2 x y z/\nCOPY w /\n-- x --\n-- y --\n-- setup --\nmkdir 0755 q\nchmod 0700 x\n"))
	got := Shrink(a, func(a *txtar.Archive) bool {
		text := string(txtar.Format(a))
		return strings.Contains(text, "FROM a") && strings.Contains(text, "--chown") && strings.Contains(text, " y z/") && strings.Contains(text, "chmod")
	})
	const want = "-- Dockerfile --\nFROM a\nCOPY --chown=1:2 y z/\n-- setup --\nchmod 0700 x\n"
	if text := string(txtar.Format(got)); text != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
}
