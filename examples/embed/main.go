// Command embed builds an image from within a Go program: the library is all it needs, there is no daemon to ask and
// no hook to call in main.
//
//	go run ./examples/embed DIR [NAME]
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/ocibuild/ocibuild/builder"
)

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: embed DIR [NAME]")
	}
	result, err := builder.Build(context.Background(), builder.Options{
		Context: os.Args[1],
		Tags:    os.Args[2:],
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Digest())
}
