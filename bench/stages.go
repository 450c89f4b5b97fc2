package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ocibuild/ocibuild/bench/lab"
)

// The promise of stages that do not need each other: a builder loses little of
// what the machine can do.
const (
	stageCount  = 6
	stageCores  = 2
	stagesIdeal = 1.1
	stageLoops  = 3_000_000 // a few seconds of a core each
)

func measureStages(ctx context.Context, b *bench) error {
	base, err := b.lab.PushBusybox(ctx, "stages/base")
	if err != nil {
		return err
	}
	dir, err := b.lab.Context("stages", map[string]string{"Dockerfile": b.stagesDockerfile(base)})
	if err != nil {
		return err
	}
	var floors, ours []lab.Usage
	for range b.times(3) {
		err := lab.OnCores(stageCores, func() (err error) {
			if floors, err = measured(floors)(b.stagesAlone(ctx)); err != nil {
				return err
			}
			ours, err = measured(ours)(coldBuild(ctx, b, dir, false))
			return err
		})
		if err != nil {
			return err
		}
	}
	work := b.table.add("the commands alone, one by one", floor, floors)
	our := b.table.add("cold", ocibuild, ours)
	b.table.ratio(fmt.Sprintf("wall / CPU of the commands on %d cores", stageCores), our.Wall, work.CPU/stageCores, stagesIdeal)
	return nil
}

// stagesDockerfile has stages that count, and one that waits for them all.
func (b *bench) stagesDockerfile(base string) string {
	var all, last strings.Builder
	fmt.Fprintf(&last, "FROM scratch\n")
	for i := range stageCount {
		fmt.Fprintf(&all, "FROM %s AS s%d\nRUN %s && echo %d > /out\n", base, i, b.count(), i)
		fmt.Fprintf(&last, "COPY --from=s%d /out /out%d\n", i, i)
	}
	return all.String() + last.String()
}

// count is a command that needs a core and nothing else.
func (b *bench) count() string {
	loops := stageLoops
	if b.quick {
		loops /= 20
	}
	return fmt.Sprintf("i=0; while [ $i -lt %d ]; do i=$((i+1)); done", loops)
}

// stagesAlone runs the commands outside of any container.
func (b *bench) stagesAlone(ctx context.Context) (lab.Usage, error) {
	var sum lab.Usage
	for range stageCount {
		u, err := lab.Measure(lab.Command(ctx, "busybox", "sh", "-c", b.count()))
		if err != nil {
			return sum, err
		}
		sum.Wall += u.Wall
		sum.CPU += u.CPU
		sum.Memory = max(sum.Memory, u.Memory)
	}
	if sum.CPU < time.Millisecond {
		return sum, fmt.Errorf("the commands do nothing")
	}
	return sum, nil
}
