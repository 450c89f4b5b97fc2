// Command proverb says what a module from the proxy says.
package main

import (
	"fmt"

	"rsc.io/quote"
)

func main() { fmt.Println(quote.Go()) }
