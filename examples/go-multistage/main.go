// Command greet greets whom it is told to.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	name := strings.Join(os.Args[1:], " ")
	if name == "" {
		name = "world"
	}
	fmt.Printf("Hello %s from a stage of its own!\n", name)
}
