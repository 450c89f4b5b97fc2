package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// The promises of a build with many RUN lines.
const (
	runSteps       = 20
	mostStepCPU    = 15 // milliseconds
	runsVsBuildKit = 1.0 / 5
)

func measureRuns(ctx context.Context, b *bench) error {
	base, err := b.lab.PushBusybox(ctx, "runs/base")
	if err != nil {
		return err
	}
	var dockerfile strings.Builder
	fmt.Fprintln(&dockerfile, "FROM", base)
	for i := range runSteps {
		fmt.Fprintf(&dockerfile, "RUN echo %d > /file%d\n", i, i)
	}
	dir, err := b.lab.Context("runs", map[string]string{"Dockerfile": dockerfile.String()})
	if err != nil {
		return err
	}
	command, err := measureCommand(ctx, b)
	if err != nil {
		return err
	}
	var ours, theirs []lab.Usage
	for range b.times(4) {
		if ours, err = measured(ours)(coldBuild(ctx, b, dir, false)); err != nil {
			return err
		}
		if theirs, err = measured(theirs)(coldBuildKit(ctx, b, dir, false)); err != nil {
			return err
		}
	}
	our := b.table.add("cold", ocibuild, ours)
	their := b.table.add("cold", buildkit, theirs)
	b.table.atMost("CPU of a step, above the command's own", stepCPU(our, command), mostStepCPU, "ms")
	b.table.ratio("CPU / BuildKit", our.CPU, their.CPU, runsVsBuildKit)
	return nil
}

// stepCPU is what is left for a step in ms; the build's fixed cost is in it.
func stepCPU(u lab.Usage, command time.Duration) float64 { return ms(u.CPU)/runSteps - ms(command) }

// measureCommand is the floor of a step: its command, outside any container.
func measureCommand(ctx context.Context, b *bench) (time.Duration, error) {
	dir, err := b.lab.Dir("command")
	if err != nil {
		return 0, err
	}
	var runs []lab.Usage
	for range b.times(20) {
		cmd := lab.Command(ctx, "busybox", "sh", "-c", "echo 1 > file")
		cmd.Dir = dir
		if runs, err = measured(runs)(lab.Measure(cmd)); err != nil {
			return 0, err
		}
	}
	return b.table.add("the command alone", floor, runs).CPU, nil
}

// coldBuild builds with an empty store.
func coldBuild(ctx context.Context, b *bench, dir string, push bool) (lab.Usage, error) {
	store, err := b.lab.NewStore(ctx)
	if err != nil {
		return lab.Usage{}, err
	}
	return store.Build(ctx, dir, b.newName(), push)
}

// coldBuildKit builds with a daemon that has nothing; its start is not counted.
func coldBuildKit(ctx context.Context, b *bench, dir string, push bool) (lab.Usage, error) {
	daemon, err := b.lab.StartBuildKit(ctx)
	if err != nil {
		return lab.Usage{}, err
	}
	defer daemon.Stop()
	return daemon.Build(ctx, dir, b.newName(), push)
}

// newName is an image that the registry has not seen, so that nothing of it is there.
func (b *bench) newName() string {
	b.images++
	return fmt.Sprintf("%s/out/image%d", b.lab.Host(), b.images)
}
