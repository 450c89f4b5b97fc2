package main

import (
	"context"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// The promises of a rebuild in which nothing changed.
const (
	mostLinkOnlyTimes = 3.0
	cachedVsBuildKit  = 1.0 / 3
	cachedMostBytes   = 1000 // the digest of the base is asked for, nothing is pulled
)

const cachedDockerfile = `
WORKDIR /code
COPY ./requirements.txt ./
RUN cat requirements.txt > /installed
COPY ./src ./src
ENTRYPOINT ["busybox", "cat", "src/main.py"]
`

func measureCached(ctx context.Context, b *bench) error {
	base, err := b.lab.PushBusybox(ctx, "cached/base")
	if err != nil {
		return err
	}
	dir, err := b.lab.Context("cached", map[string]string{
		"Dockerfile":       "FROM " + base + cachedDockerfile,
		"requirements.txt": "fastapi\nuvicorn\n",
		"src/main.py":      "app = None\n",
		"src/__init__.py":  "",
	})
	if err != nil {
		return err
	}
	linkOnly, err := b.lab.LinkOnly(ctx)
	if err != nil {
		return err
	}
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return err
	}
	daemon, err := b.lab.StartBuildKit(ctx)
	if err != nil {
		return err
	}
	defer daemon.Stop()
	image := b.lab.Host() + "/cached/app"
	// The first build of each fills its cache.
	for _, peer := range []builder{store, daemon} {
		if _, err := peer.Build(ctx, dir, image, false); err != nil {
			return err
		}
	}
	var floors, ours, theirs []lab.Usage
	for range b.times(15) {
		if floors, err = measured(floors)(lab.Measure(lab.Command(ctx, linkOnly))); err != nil {
			return err
		}
		if ours, err = measured(ours)(store.Build(ctx, dir, image, false)); err != nil {
			return err
		}
		if theirs, err = measured(theirs)(daemon.Build(ctx, dir, image, false)); err != nil {
			return err
		}
	}
	least := b.table.add("links only", floor, floors)
	our := b.table.add("unchanged", ocibuild, ours)
	their := b.table.add("unchanged", buildkit, theirs)
	b.table.ratio("wall / a program that only links the same", our.Wall, least.Wall, mostLinkOnlyTimes)
	b.table.ratio("wall / BuildKit", our.Wall, their.Wall, cachedVsBuildKit)
	b.table.ratio("CPU / BuildKit", our.CPU, their.CPU, cachedVsBuildKit)
	b.table.atMost("bytes from the registry", float64(our.Received), cachedMostBytes, "B")
	return nil
}

// builder is what both peers can do.
type builder interface {
	Build(ctx context.Context, dir, image string, push bool) (lab.Usage, error)
}
