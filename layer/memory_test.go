package layer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// item is an entry and its content, as tests write them down.
type item struct {
	Entry
	content string
}

func reg(name, content string) item {
	return item{Entry{Name: name, Type: Regular, Mode: 0o644, Size: int64(len(content)), ModTime: 1e9}, content}
}

func dir(name string) item {
	return item{Entry: Entry{Name: name, Type: Directory, Mode: 0o755, ModTime: 1e9}}
}

func opaqueDir(name string) item {
	d := dir(name)
	d.Opaque = true
	return d
}

func wh(name string) item { return item{Entry: Entry{Name: name, Type: Whiteout}} }

func sym(name, target string) item {
	return item{Entry: Entry{Name: name, Type: Symlink, Mode: 0o777, Linkname: target}}
}

func hard(name, target string) item {
	return item{Entry: Entry{Name: name, Type: Hardlink, Mode: 0o644, Linkname: target}}
}

// made is a written layer in memory.
type made struct {
	diffID digest.Digest
	desc   ocispec.Descriptor
	toc    *TOC
	blob   []byte
}

func write(t testing.TB, o WriterOptions, items ...item) made {
	t.Helper()
	m, err := tryWrite(context.Background(), o, items...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryWrite(ctx context.Context, o WriterOptions, items ...item) (m made, err error) {
	var blob bytes.Buffer
	w := NewWriter(ctx, &blob, o)
	defer w.Abort()
	for _, it := range items {
		var r io.Reader
		if it.Type == Regular {
			r = strings.NewReader(it.content)
		}
		if err := w.Add(it.Entry, r); err != nil {
			return m, err
		}
	}
	if m.diffID, err = w.Finish(); err != nil {
		return m, err
	}
	m.desc, m.toc, err = w.Wait()
	m.blob = blob.Bytes()
	return m, err
}

func (m made) raw(t testing.TB) []byte {
	t.Helper()
	r, err := NewReader(bytes.NewReader(m.blob), m.desc.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// layer returns m as a Layer that counts how often its table is read.
func (m made) layer(reads *int) *Layer { return New(m.diffID, &memFaces{m, reads}) }

type memFaces struct {
	made
	reads *int
}

func (f *memFaces) Descriptor(context.Context) (ocispec.Descriptor, error) { return f.desc, nil }

func (f *memFaces) TOC(context.Context) (*TOC, error) {
	if f.reads != nil {
		*f.reads++
	}
	return DecodeTOC(f.toc.Encode())
}

func (f *memFaces) Blob(context.Context) (Blob, error) {
	return Blob{}, errors.New("the layer is in memory")
}

func (f *memFaces) Raw(context.Context) (io.ReaderAt, error) {
	return NewGroupReader(bytes.NewReader(f.blob), f.toc)
}

func viewOf(t testing.TB, layers ...[]item) *View {
	t.Helper()
	var all []*Layer
	for _, items := range layers {
		all = append(all, write(t, WriterOptions{}, items...).layer(nil))
	}
	return NewView(all)
}

// noise yields content that is neither all the same nor incompressible.
func noise(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	words := make([]byte, 8<<10)
	for i := range words {
		words[i] = "abcdefghijklmnop \n"[r.IntN(18)]
	}
	b := make([]byte, 0, n+32)
	for len(b) < n {
		b = append(b, words[r.IntN(len(words)-32):][:32]...)
	}
	return string(b[:n])
}

// forest yields many files in many directories, sorted.
func forest(dirs, files, size int) []item {
	var items []item
	for d := range dirs {
		name := fmt.Sprintf("dir%03d", d)
		items = append(items, dir(name))
		for f := range files {
			items = append(items, reg(fmt.Sprintf("%s/file%03d", name, f), noise(uint64(d*files+f), size)))
		}
	}
	return items
}

// trickle reads in pieces of random length.
type trickle struct {
	r   io.Reader
	rnd *rand.Rand
}

func (t trickle) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return t.r.Read(p[:1+t.rnd.IntN(min(len(p), 50_000))])
}
