// Command hello prints one message. It is all that its image holds.
package main

import "fmt"

func main() {
	fmt.Println("Hello from an image that holds one file!")
}
