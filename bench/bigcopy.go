package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// The promises of a large context. They are about CPU time: compression uses
// all cores, so wall time depends on their number.
const (
	coldVsBuildKit      = 0.3
	changedVsBuildKit   = 0.1
	unchangedVsBuildKit = 0.2
	mostMemory          = 100 // MiB
	onDiskVsInMemory    = 1.4 // wall time
)

var bigCopyFiles = lab.Files{Count: 40_000, Bytes: 500e6, Seed: 200}

const bigCopyChanged = "tree/d0/d07/file00777.txt"

// phase is one state of the context against one state of the caches.
type phase struct {
	name  string
	limit float64
	runs  map[string][]lab.Usage // by peer
}

func measureBigCopy(ctx context.Context, b *bench) error {
	dir, err := b.lab.Context("bigcopy", map[string]string{"Dockerfile": "FROM scratch\nCOPY tree /tree\n"})
	if err != nil {
		return err
	}
	if err := b.scale(bigCopyFiles).WriteTo(filepath.Join(dir, "tree")); err != nil {
		return err
	}
	phases := []*phase{
		{"cold", coldVsBuildKit, map[string][]lab.Usage{}},
		{"unchanged", unchangedVsBuildKit, map[string][]lab.Usage{}},
		{"one file changed", changedVsBuildKit, map[string][]lab.Usage{}},
	}
	for range b.times(2) {
		store, err := b.lab.NewStore(ctx)
		if err != nil {
			return err
		}
		if err := b.copyPhases(ctx, dir, ocibuild, store, phases); err != nil {
			return err
		}
		if err := b.copyPhasesOfBuildKit(ctx, dir, phases); err != nil {
			return err
		}
	}
	for _, p := range phases {
		our, their := b.table.add(p.name, ocibuild, p.runs[ocibuild]), b.table.add(p.name, buildkit, p.runs[buildkit])
		b.table.ratio(p.name+": CPU / BuildKit", our.CPU, their.CPU, p.limit)
		b.table.atMost(p.name+": peak memory", float64(our.Memory)/(1<<20), mostMemory, "MiB")
	}
	return b.copyToArchive(ctx, dir)
}

// copyToArchive builds into an archive, with the context in the page cache and with
// the context on the disk alone.
func (b *bench) copyToArchive(ctx context.Context, dir string) error {
	var inMemory, onDisk []lab.Usage
	for range b.times(2) {
		if err := b.archiveAfter(ctx, lab.Settle, dir, &inMemory); err != nil {
			return err
		}
		if err := b.archiveAfter(ctx, lab.Unsettle, dir, &onDisk); err != nil {
			return err
		}
	}
	warm := b.table.add("into an archive", ocibuild, inMemory)
	cold := b.table.add("from the disk", ocibuild, onDisk)
	b.table.atMost("into an archive: peak memory", float64(warm.Memory)/(1<<20), mostMemory, "MiB")
	b.table.ratio("from the disk: wall / page cache", cold.Wall, warm.Wall, onDiskVsInMemory)
	return nil
}

// archiveAfter builds into an archive, with a store of its own, after the context
// has been prepared.
func (b *bench) archiveAfter(ctx context.Context, prepare func(dir string) error, dir string, runs *[]lab.Usage) error {
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return err
	}
	dest, err := b.lab.Dir("archive")
	if err != nil {
		return err
	}
	if err := prepare(dir); err != nil {
		return err
	}
	u, err := store.Archive(ctx, dir, filepath.Join(dest, "image.tar"))
	*runs = append(*runs, u)
	return err
}

func (b *bench) copyPhasesOfBuildKit(ctx context.Context, dir string, phases []*phase) error {
	daemon, err := b.lab.StartBuildKit(ctx)
	if err != nil {
		return err
	}
	defer daemon.Stop()
	return b.copyPhases(ctx, dir, buildkit, daemon, phases)
}

// copyPhases builds cold, again, and again after a change, into one name.
func (b *bench) copyPhases(ctx context.Context, dir, peer string, build builder, phases []*phase) error {
	name := b.newName()
	for i, p := range phases {
		if i == len(phases)-1 {
			text := fmt.Sprintf("changed for %s\n", name)
			if err := os.WriteFile(filepath.Join(dir, bigCopyChanged), []byte(text), 0o644); err != nil {
				return err
			}
		}
		u, err := build.Build(ctx, dir, name, true)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", peer, p.name, err)
		}
		p.runs[peer] = append(p.runs[peer], u)
	}
	return nil
}
