// Command compressonly compresses a file as layers are compressed, with as many
// goroutines, and does nothing else of what makes a layer: no tar is written,
// nothing is hashed and no file is opened but this one.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/ocibuild/ocibuild/layer"
)

// groupSize is about that of a layer's groups.
const groupSize = 1 << 20

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: compressonly FROM TO")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "compressonly:", err)
		os.Exit(1)
	}
}

// group is a part of the file on its way.
type group struct {
	raw, blob []byte
	err       error
	done      chan struct{}
}

func run(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	workers := runtime.GOMAXPROCS(0)
	work, order := make(chan *group), make(chan *group, 2*workers)
	for range workers {
		go compress(work)
	}
	written := make(chan error, 1)
	go func() { written <- write(out, order) }()
	err = cut(in, work, order)
	close(work)
	close(order)
	return errors.Join(err, <-written, out.Close())
}

// cut hands out groups to be compressed, and the same in their order to be written.
func cut(in io.Reader, work, order chan<- *group) error {
	for {
		raw := make([]byte, groupSize)
		n, err := io.ReadFull(in, raw)
		if n > 0 {
			g := &group{raw: raw[:n], done: make(chan struct{})}
			order <- g
			work <- g
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func compress(work <-chan *group) {
	for g := range work {
		g.blob, g.err = layer.Gzip.Append(nil, g.raw)
		close(g.done)
	}
}

func write(out io.Writer, order <-chan *group) error {
	var first error
	for g := range order {
		<-g.done
		if _, err := out.Write(g.blob); first == nil {
			first = errors.Join(g.err, err)
		}
	}
	return first
}
