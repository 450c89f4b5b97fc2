package lab

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// epoch is the time of every file that is made.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// Files says how many files to make and how large they are together. The
// same numbers give the same names and bytes, everywhere.
type Files struct {
	Count int
	Bytes int64
	Seed  uint64
}

type file struct {
	name string
	size int64
	seed uint64
}

const filesPerDir = 100

// list spreads the bytes as in a real tree: most files are small, a few are large.
func (f Files) list() []file {
	r := rand.New(rand.NewPCG(f.Seed, 1))
	weights := make([]float64, f.Count)
	var sum float64
	for i := range weights {
		weights[i] = math.Exp(1.5 * r.NormFloat64())
		sum += weights[i]
	}
	all := make([]file, f.Count)
	for i := range all {
		all[i] = file{
			name: fmt.Sprintf("d%d/d%02d/file%05d.txt", i/(filesPerDir*20), i/filesPerDir%20, i),
			size: int64(weights[i] / sum * float64(f.Bytes)),
			seed: f.Seed<<32 | uint64(i),
		}
	}
	return all
}

// WriteTo makes the files below dir.
func (f Files) WriteTo(dir string) error {
	var buf []byte
	for _, file := range f.list() {
		path := filepath.Join(dir, file.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		buf = fill(buf, file)
		if err := os.WriteFile(path, buf, 0o644); err != nil {
			return err
		}
		if err := os.Chtimes(path, epoch, epoch); err != nil {
			return err
		}
	}
	return nil
}

// vocabulary is for text that compresses to about 0.32, like a system's /usr.
var vocabulary = func() [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([][]byte, 1<<12)
	for i := range words {
		word := make([]byte, 3+r.IntN(8))
		for j := range word {
			word[j] = 'a' + byte(r.IntN(26))
		}
		words[i] = append(word, " \n"[r.IntN(8)/7])
	}
	return words
}()

// fill puts the file's content into buf and returns it, grown where needed.
func fill(buf []byte, f file) []byte {
	r := rand.NewPCG(f.seed, 3)
	buf = buf[:0]
	for int64(len(buf)) < f.size {
		n := r.Uint64()
		// The smaller of two draws, times a third: few words are common, many are rare.
		at := min(n&0xfff, n>>12&0xfff)
		at = at * (n >> 24 & 0xfff) >> 12
		at = at * (n >> 36 & 0xfff) >> 12
		buf = append(buf, vocabulary[at]...)
	}
	return buf[:f.size]
}
