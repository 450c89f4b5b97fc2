package frontend

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// longDockerfile is 500 steps as people write them: several stages, with
// arguments, and every tenth a copy.
func longDockerfile() string {
	var b strings.Builder
	b.WriteString("ARG V=1\nFROM base:$V AS one\n")
	for i := range 500 {
		switch {
		case i == 250:
			b.WriteString("FROM one AS two\n")
		case i%10 == 0:
			fmt.Fprintf(&b, "COPY --from=base file%d /to/\n", i)
		case i%10 == 1:
			fmt.Fprintf(&b, "COPY a%d b%d /dir/\n", i, i)
		case i%10 == 2:
			fmt.Fprintf(&b, "ENV K%d=v$V\n", i)
		case i%10 == 3:
			fmt.Fprintf(&b, "WORKDIR /w%d\n", i)
		default:
			fmt.Fprintf(&b, "RUN --mount=type=cache,target=/c make target-%d && \\\n    true\n", i)
		}
	}
	return b.String()
}

// BenchmarkConvert500 is what stands between a Dockerfile of 500 steps and the
// first of them: it is to be far below 100 ms.
func BenchmarkConvert500(b *testing.B) {
	o, _ := options(longDockerfile())
	for b.Loop() {
		if _, err := Convert(context.Background(), o); err != nil {
			b.Fatal(err)
		}
	}
}
