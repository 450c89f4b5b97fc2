package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// The promises of a small layer on a large base.
const (
	firstVsBuildKit = 1.0 / 4
	knownVsBuildKit = 1.0 / 50
	linkMostBytes   = 1e6
)

var bigBaseFiles = lab.Files{Count: 60_000, Bytes: 600e6, Seed: 100}

const (
	bigBaseLayers = 3
	bigBaseFile   = "app.txt"
)

// bigBase is the state of the workload.
type bigBase struct {
	*bench
	plain, link string // contexts: COPY, and COPY --link
	changes     int
}

func measureBigBase(ctx context.Context, b *bench) error {
	base, err := b.lab.PushFiles(ctx, "bigbase/base", b.scale(bigBaseFiles), bigBaseLayers)
	if err != nil {
		return err
	}
	w := &bigBase{bench: b}
	if w.plain, err = w.context(base, ""); err != nil {
		return err
	}
	if w.link, err = w.context(base, "--link "); err != nil {
		return err
	}
	var first, known, link, theirs []lab.Usage
	for range b.times(3) {
		store, err := b.lab.NewStore(ctx)
		if err != nil {
			return err
		}
		if first, err = measured(first)(w.build(ctx, store, w.plain)); err != nil {
			return fmt.Errorf("first contact: %w", err)
		}
		if known, err = measured(known)(w.build(ctx, store, w.plain)); err != nil {
			return fmt.Errorf("TOCs known: %w", err)
		}
		if link, err = measured(link)(coldBuild(ctx, b, w.link, true)); err != nil {
			return fmt.Errorf("--link: %w", err)
		}
		if theirs, err = measured(theirs)(coldBuildKit(ctx, b, w.plain, true)); err != nil {
			return err
		}
	}
	w.compare(first, known, link, theirs)
	return nil
}

func (w *bigBase) compare(first, known, link, theirs []lab.Usage) {
	their := w.table.add("cold", buildkit, theirs)
	a, k, l := w.table.add("first contact", ocibuild, first), w.table.add("TOCs known", ocibuild, known),
		w.table.add("--link, cold", ocibuild, link)
	w.table.ratio("first contact: wall / BuildKit", a.Wall, their.Wall, firstVsBuildKit)
	w.table.ratio("first contact: CPU / BuildKit", a.CPU, their.CPU, firstVsBuildKit)
	w.table.atMost("first contact: bytes received / BuildKit", float64(a.Received)/float64(max(their.Received, 1)), 1.01, "x")
	w.table.ratio("TOCs known: wall / BuildKit", k.Wall, their.Wall, knownVsBuildKit)
	w.table.ratio("TOCs known: CPU / BuildKit", k.CPU, their.CPU, knownVsBuildKit)
	w.table.atMost("TOCs known: bytes received", float64(k.Received), linkMostBytes, "B")
	w.table.atMost("--link: bytes received", float64(l.Received), linkMostBytes, "B")
	w.table.atMost("any of these: bytes sent", float64(max(a.Sent, k.Sent, l.Sent)), linkMostBytes, "B")
}

func (w *bigBase) context(base, flag string) (string, error) {
	return w.lab.Context("bigbase"+strings.TrimSpace(flag), map[string]string{
		"Dockerfile": fmt.Sprintf("FROM %s\nCOPY %s%s /opt/app/\n", base, flag, bigBaseFile),
		bigBaseFile:  "0",
	})
}

// build changes the file first, so that no step is cached.
func (w *bigBase) build(ctx context.Context, store *lab.Ocibuild, dir string) (lab.Usage, error) {
	w.changes++
	text := fmt.Sprintf("change %d\n", w.changes)
	if err := os.WriteFile(filepath.Join(dir, bigBaseFile), []byte(text), 0o644); err != nil {
		return lab.Usage{}, err
	}
	return store.Build(ctx, dir, w.newName(), true)
}
