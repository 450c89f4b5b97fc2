// Command profile builds, in its own process, what takes ocibuild the most time,
// and writes where that went to a file. The compiler reads it as
// cmd/ocibuild/default.pgo and makes the paths that are hot faster, by 5 to 10
// percent. It goes stale slowly: `make profile` makes it anew after a change of
// the compressor, of hashing or of planning.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"

	"github.com/google/pprof/profile"

	"github.com/ocibuild/ocibuild/bench/lab"
	"github.com/ocibuild/ocibuild/builder"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: profile OUTPUT")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, output string) error {
	dir, err := os.MkdirTemp("", "profile-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files := filepath.Join(dir, "context")
	if err := prepare(ctx, files); err != nil {
		return err
	}
	var raw bytes.Buffer
	if err := pprof.StartCPUProfile(&raw); err != nil {
		return err
	}
	err = work(ctx, files, filepath.Join(dir, "stores"))
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	return write(output, &raw)
}

// write leaves out where the program lay that was measured.
func write(output string, raw *bytes.Buffer) error {
	p, err := profile.Parse(raw)
	if err != nil {
		return err
	}
	for _, m := range p.Mapping {
		m.File, m.BuildID = "", ""
	}
	var out bytes.Buffer
	if err := p.Write(&out); err != nil {
		return err
	}
	return os.WriteFile(output, out.Bytes(), 0o644)
}

// manyFiles is a context whose layer takes seconds to compress.
var manyFiles = lab.Files{Count: 20_000, Bytes: 250e6, Seed: 7}

// dockerfiles build a large context; an archive to read, and a stage to copy
// from; and many steps.
var dockerfiles = []string{
	"FROM scratch\nCOPY tree /tree\n",
	"FROM scratch AS a\nADD tree.tar.gz /\nFROM scratch\nCOPY --from=a /tree /elsewhere\n",
	"FROM scratch\n" + strings.Repeat("ARG A=b\nENV C=$A\nLABEL d=${C:-e}\nWORKDIR /f/$C\n", 100),
}

// prepare makes the context.
func prepare(ctx context.Context, dir string) error {
	if err := manyFiles.WriteTo(filepath.Join(dir, "tree")); err != nil {
		return err
	}
	return exec.CommandContext(ctx, "tar", "-C", dir, "-czf", filepath.Join(dir, "tree.tar.gz"), "tree").Run()
}

// work is a day of builds.
func work(ctx context.Context, dir, stores string) error {
	for round := range 3 {
		o := builder.Options{Context: dir, Store: filepath.Join(stores, strconv.Itoa(round))}
		for range 2 { // the second finds all in the cache
			for _, text := range dockerfiles {
				o.DockerfileData = []byte(text)
				if _, err := builder.Build(ctx, o); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
