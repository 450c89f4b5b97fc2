package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// The promises of ways of isolation. What is found for the step on rung chroot has
// the command and the making of its layer in it, beside the comparing of files.
const (
	trueMostMS   = 10
	trueVsRunc   = 1.0 / 3
	singleVsIDs  = 1.5
	chrootMostMS = 500
)

// runc is a peer of the table.
const runc = "runc"

// chrootFiles is a tree in which one small thing is changed.
var chrootFiles = lab.Files{Count: 60_000, Bytes: 120e6, Seed: 200}

func measureIsolation(ctx context.Context, b *bench) error {
	for _, part := range []func(context.Context, *bench) error{measureTrue, measureChroot, measureSingle} {
		if err := part(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// measureTrue runs /bin/true in the sandbox and by runc, in turns.
func measureTrue(ctx context.Context, b *bench) (err error) {
	base, err := b.lab.PushBusybox(ctx, "isolation/busybox")
	if err != nil {
		return err
	}
	dir, err := b.lab.Context("true", map[string]string{"Dockerfile": "FROM " + base + "\nRUN [\"/bin/true\"]\n"})
	if err != nil {
		return err
	}
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return err
	}
	if _, err := store.Build(ctx, dir, "true", false); err != nil {
		return err
	}
	box, err := store.NewSandbox(ctx, "true", "/bin/true")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, box.Close()) }()
	bundle, err := b.lab.NewBundle(ctx)
	if err != nil {
		return err
	}
	var ours, theirs []lab.Usage
	for range b.times(50) {
		if ours, err = measured(ours)(box.Run(ctx)); err != nil {
			return err
		}
		if theirs, err = measured(theirs)(bundle.Run(ctx)); err != nil {
			return err
		}
	}
	our := b.table.add("true, start to exit", ocibuild, ours)
	their := b.table.add("true, start to exit", runc, theirs)
	b.table.atMost("wall of /bin/true in the default sandbox", ms(our.Wall), trueMostMS, "ms")
	b.table.ratio("wall / runc run", our.Wall, their.Wall, trueVsRunc)
	return nil
}

// measureChroot changes one file of many where nothing can be mounted.
func measureChroot(ctx context.Context, b *bench) error {
	busybox, err := b.lab.PushBusybox(ctx, "isolation/busybox")
	if err != nil {
		return err
	}
	files, err := b.lab.PushFiles(ctx, "isolation/files", b.scale(chrootFiles), 1)
	if err != nil {
		return err
	}
	const dockerfile = "FROM %s\nCOPY --from=%s / /\nRUN echo 0 >/0\nRUN echo 1 >/1\nRUN echo 2 >/2\n"
	dir, err := b.lab.Context("chroot", map[string]string{"Dockerfile": fmt.Sprintf(dockerfile, files, busybox)})
	if err != nil {
		return err
	}
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return err
	}
	var steps []lab.Usage
	for range b.times(3) {
		all, err := store.Steps(ctx, dir, "chroot", "--isolation", "chroot", "--no-cache")
		if err != nil {
			return err
		}
		steps = append(steps, all[1:]...) // the first one unpacks the tree
	}
	our := b.table.add("chroot: a small RUN on many files", ocibuild, steps)
	b.table.atMost("wall of a step on isolation chroot", ms(our.Wall), chrootMostMS, "ms")
	return nil
}

// installDockerfile fetches packages in one stage, so that what is measured in the
// other is not the network.
const installDockerfile = `FROM debian AS fetched
RUN apt-get update && apt-get install -y --no-install-recommends --download-only dbus man-db sudo
FROM fetched AS installed
RUN apt-get install -y --no-install-recommends dbus man-db sudo
`

// measureSingle installs packages with one id and with many, in turns.
func measureSingle(ctx context.Context, b *bench) error {
	base, flags, err := b.lab.Debian(ctx)
	if err != nil {
		return err
	}
	dir, err := b.lab.Context("install", map[string]string{"Dockerfile": installDockerfile})
	if err != nil {
		return err
	}
	ways := []string{"userns", "userns-single"}
	stores, found := map[string]*lab.Ocibuild{}, map[string][]lab.Usage{}
	for _, way := range ways {
		if stores[way], err = b.lab.NewStore(ctx); err != nil {
			return err
		}
		if _, err := stores[way].Steps(ctx, base, "debian"); err != nil {
			return err
		}
		if _, err := stores[way].Steps(ctx, dir, "installed", slices.Concat(flags, []string{"--isolation", way})...); err != nil {
			return err
		}
	}
	for range b.times(4) {
		for _, way := range ways {
			steps, err := stores[way].Steps(ctx, dir, "installed", slices.Concat(flags, []string{"--isolation", way, "--no-cache-filter", "installed"})...)
			if err != nil {
				return err
			}
			found[way] = append(found[way], steps...)
		}
	}
	best := map[string]time.Duration{}
	for _, way := range ways {
		best[way] = b.table.add(way+": apt-get install", ocibuild, found[way]).Wall
	}
	b.table.ratio("apt-get install: wall with one id / with sub-ids", best["userns-single"], best["userns"], singleVsIDs)
	return nil
}
