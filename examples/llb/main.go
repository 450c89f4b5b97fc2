// Command llb builds an image of a graph that it puts together itself, without a Dockerfile: two commands run side by
// side on one base image, and what each of them changed is merged.
//
//	go run ./examples/llb BASE [NAME]
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/moby/buildkit/client/llb"

	"github.com/ocibuild/ocibuild/builder"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: llb BASE [NAME]")
	}
	ctx := context.Background()
	def, err := program(os.Args[1]).Marshal(ctx)
	if err != nil {
		log.Fatal(err)
	}
	result, err := builder.Solve(ctx, def, builder.Options{Tags: os.Args[2:]})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Digest())
}

// program is the graph: base with the changes of two commands that know nothing of each other, and a file that the
// second one wrote beside its root.
func program(image string) llb.State {
	base := llb.Image(image)
	one := base.Run(llb.Shlex(`sh -c "echo one > /one"`)).Root()
	two := base.Run(llb.Shlex(`sh -c "echo two > /two && rm /bin/yes && echo aside > /out/aside"`))
	aside := two.AddMount("/out", llb.Scratch())
	merged := llb.Merge([]llb.State{base, llb.Diff(base, one), llb.Diff(base, two.Root())})
	return merged.File(llb.Copy(aside, "/aside", "/aside"))
}
