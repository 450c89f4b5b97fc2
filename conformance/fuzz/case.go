// Package fuzz makes random cases of file operations, and makes those that
// fail smaller.
//
// What it leaves out is what DIFFERENCES.md names and what no case needs it
// for: users that nobody knows, attributes in archives, devices and sockets,
// names that look like whiteouts.
package fuzz

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/tools/txtar"
)

// Case makes the case of a seed.
func Case(seed uint64) *txtar.Archive {
	g := &gen{Rand: rand.New(rand.NewPCG(seed, 8))}
	g.context()
	ignore := g.ignore()
	files := []txtar.File{{Name: "Dockerfile", Data: []byte(g.dockerfile())}}
	if ignore != "" {
		files = append(files, txtar.File{Name: ".dockerignore", Data: []byte(ignore)})
	}
	files = append(files, g.files...)
	if len(g.setup) > 0 {
		files = append(files, txtar.File{Name: setupFile, Data: []byte(strings.Join(g.setup, "\n") + "\n")})
	}
	return &txtar.Archive{Comment: fmt.Appendf(nil, "Seed %d.\n", seed), Files: files}
}

const (
	setupFile = "setup"
	listing   = "listing"
)

// gen is a case that is being made.
type gen struct {
	*rand.Rand
	files    []txtar.File
	setup    []string
	paths    []string // of everything in the context
	dirs     []string // of the context, "" is the context itself
	archives []string
	stages   []stage
}

// stage is one whose files a COPY may name.
type stage struct {
	name        string
	paths, dirs []string // dirs are those of the paths that are, or lead to, a directory
}

// chance is true in one of n cases.
func (g *gen) chance(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *gen, of []T) T { return of[g.IntN(len(of))] }

// names are those of the context's files. Few, so that they meet.
var names = []string{"a", "a", "b", "b", "c", "d", "f", "sub", "x y", "é", "日本", "*", "s*r", "[b]", "q?", "a.b", "a.txt", "b.txt", ".hid", "-d", "#h", "a,b", "$v"}

var modes = []string{"0644", "0600", "0755", "0777", "0400", "0000", "4755", "2755", "6711", "1666"}

var dirModes = []string{"0755", "0700", "0777", "1777", "2755", "2770", "0555", "3711"}
