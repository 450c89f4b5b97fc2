package layer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// WriterOptions says how a [Writer] makes its layer.
type WriterOptions struct {
	Compression Compression // nil means Gzip
	// Spool lets Add run ahead of the compressors: raw groups that do not fit
	// into the memory budget go to this file. Nil makes Add wait instead.
	Spool SpoolFile
	// Reuse offers an older layer's groups, to be copied instead of compressed.
	Reuse *Reuse
	// MaxBytes bounds the uncompressed tar, as Limits do for who reads it; 0 means
	// no bound.
	MaxBytes int64
}

// SpoolFile is what a Writer needs of a temporary file; *os.File is one.
type SpoolFile interface {
	io.ReaderAt
	io.WriterAt
}

// Reuse is an older layer whose unchanged groups may be copied.
type Reuse struct {
	TOC  *TOC
	Blob io.ReaderAt
}

// Writer makes one layer: a tar stream that is hashed whole (the DiffID), cut
// into groups, compressed by several goroutines, and written to one blob. Its
// bytes depend on the entries and the Compression only, never on the number of
// cores or on timing. Its methods are for one goroutine, but for Abort.
type Writer struct {
	pipe *pipe
	toc  tocBuilder
	done *TOC // nil until Finish
	err  error

	raw     []byte    // the group being filled
	sum     hash.Hash // of what is in it, see [Group]
	off     int64     // of raw in the tar
	content hash.Hash // of the file being added
	digest  digest.Digest
	most    int64
	head    []byte // scratch
	one     [1]byte
}

// A group ends where the name of an entry says so, once it has the least size,
// and before an entry with which it would exceed the greatest. The content of a
// file beyond the greatest size is cut into blocks of that size.
const (
	minGroup = 512 << 10
	maxGroup = 2 << 20
)

// endOfTar is the size of what ends an archive.
const endOfTar = 1024

// NewWriter returns a Writer whose compressed blob goes to dst. Whoever makes
// one must call Finish and Wait, or Abort; Abort after Wait does nothing.
func NewWriter(ctx context.Context, dst io.Writer, o WriterOptions) *Writer {
	if o.Compression == nil {
		o.Compression = Gzip
	}
	return &Writer{pipe: startPipe(ctx, dst, o), sum: sha256.New(), content: sha256.New(), most: o.MaxBytes}
}

// Add appends an entry. content is read to its end for a Regular entry and must
// yield exactly e.Size bytes; it is nil for every other type. The digest of the
// content is computed on the way; e.Digest saves that for a content larger than a
// group. After an error the layer is lost, and every later call returns that error.
func (w *Writer) Add(e Entry, content io.Reader) error {
	if w.err != nil {
		return w.err
	}
	if w.done != nil {
		return errors.New("layer is finished")
	}
	if err := w.add(normalize(e), content); err != nil {
		w.err = fmt.Errorf("entry %s: %w", quoteName(e.Name), err)
		w.pipe.fail(w.err)
	}
	return w.err
}

// fits refuses an entry before any of it is read: its size may be one that a hole
// makes up.
func (w *Writer) fits(size int64) error {
	if w.most > 0 && w.off+int64(len(w.raw))+size+endOfTar > w.most {
		return fmt.Errorf("layer is larger than %d bytes", w.most)
	}
	return nil
}

func (w *Writer) add(e Entry, content io.Reader) error {
	if err := checkEntry(&e); err != nil {
		return err
	}
	var err error
	if w.head, err = appendHeader(w.head[:0], &e); err != nil {
		return err
	}
	at := int64(len(w.head)) // of the content, after the headers
	if e.Opaque {
		mark := Entry{Name: childKey(nameKey(e.Name), whOpaque), Type: Regular}
		if w.head, err = appendHeader(w.head, &mark); err != nil {
			return err
		}
	}
	size := int64(len(w.head)) + e.Size + padding(e.Size)
	if err := w.fits(size); err != nil {
		return err
	}
	large := size > maxGroup
	if large || int64(len(w.raw))+size > maxGroup {
		if err := w.cut(); err != nil {
			return err
		}
	}
	e.Offset, e.sparse = w.off+int64(len(w.raw))+at, false
	w.room(int(min(size, groupRoom)))
	w.raw = append(w.raw, w.head...)
	w.sum.Write(w.head)
	if e.Type == Regular {
		if err := w.copy(&e, content); err != nil {
			return err
		}
	}
	if err := w.toc.add(&e); err != nil {
		return err
	}
	if large || (len(w.raw) >= minGroup && endsGroup(e.Name, size)) {
		return w.cut()
	}
	return nil
}

// room makes room for n bytes in the group.
func (w *Writer) room(n int) {
	if w.raw == nil && w.off > 0 {
		n = max(n, groupRoom) // this is no small layer
	}
	if w.raw == nil {
		w.raw = rawBuffers.get(n)
		return
	}
	w.raw = grow(w.raw, n)
}

// endsGroup tells whether a group ends after the entry. It depends on the entry
// alone, so a change in one place moves no boundary in another. The chance grows
// with the size, which makes groups of about half a MiB more than the least.
func endsGroup(name string, size int64) bool {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	// Names that differ at the end only differ in few bits so far.
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h ^= h >> 33
	return h>>45 < uint64(size) // of 19 bits, hence half a MiB
}

// copy copies the content of e into the tar, and pads it.
func (w *Writer) copy(e *Entry, r io.Reader) error {
	if r == nil && e.Size > 0 {
		return errors.New("no content")
	}
	both := [...]hash.Hash{w.content, w.sum}
	sums, large := both[:1], e.Size > maxGroup
	if large {
		sums = both[:] // a part of the content is in the group
		if e.Digest != "" {
			sums = sums[1:]
		}
	}
	w.content.Reset()
	for left := e.Size; left > 0; {
		block := min(left, maxGroup)
		if err := w.block(r, block, sums); err != nil {
			return fmt.Errorf("content of %d bytes: %w", e.Size, err)
		}
		if left -= block; left > 0 {
			if err := w.cut(); err != nil {
				return err
			}
		}
	}
	if r != nil {
		if n, err := io.ReadFull(r, w.one[:]); n > 0 {
			return fmt.Errorf("content is longer than its size %d", e.Size)
		} else if err != io.EOF {
			return err
		}
	}
	w.raw = append(w.raw, tarEnd[:padding(e.Size)]...)
	if !large || e.Digest == "" {
		e.Digest = makeDigest(w.content.Sum(w.head[:0]))
	}
	if !large {
		w.head = append(w.head[:0], e.Digest...)
		w.sum.Write(w.head)
	}
	w.digest = e.Digest
	return nil
}

// block reads n bytes of content straight into the group.
func (w *Writer) block(r io.Reader, n int64, sums []hash.Hash) error {
	w.room(int(n) + tarBlock)
	for n > 0 {
		// Hashed while it is still in the processor's cache.
		piece := w.raw[len(w.raw) : len(w.raw)+int(min(n, 128<<10))]
		got, err := io.ReadFull(r, piece)
		for _, sum := range sums {
			sum.Write(piece[:got])
		}
		w.raw = w.raw[:len(w.raw)+got]
		n -= int64(got)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return fmt.Errorf("ends early, at least %d are missing: %w", n, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Digest returns the digest of the content that was added last.
func (w *Writer) Digest() digest.Digest { return w.digest }

// cut hands the group over, if there is anything in it.
func (w *Writer) cut() error {
	if len(w.raw) == 0 {
		return nil
	}
	size := int64(len(w.raw))
	g := &group{Group: Group{Digest: makeDigest(w.sum.Sum(nil)), RawOffset: w.off, RawSize: size}, raw: w.raw, packed: make(chan struct{})}
	w.raw, w.off = nil, w.off+size
	w.sum.Reset()
	return w.pipe.put(g)
}

// Finish ends the tar. The layer's DiffID and TOC entries are known now;
// compression may go on until Wait returns.
func (w *Writer) Finish() (digest.Digest, error) {
	if w.err != nil {
		return "", w.err
	}
	if w.done != nil {
		return w.pipe.diffID, nil
	}
	w.room(len(tarEnd))
	w.raw = append(w.raw, tarEnd[:]...)
	w.sum.Write(tarEnd[:])
	if w.err = w.cut(); w.err == nil {
		w.err = w.pipe.put(nil)
	}
	if w.err != nil {
		return "", w.err
	}
	toc, err := w.toc.finish(w.off)
	if err != nil {
		w.err = err
		w.pipe.fail(err)
		return "", err
	}
	select {
	case <-w.pipe.hashed:
	case <-w.pipe.done:
		// The end of a pipe that has done all its work looks the same.
		select {
		case <-w.pipe.hashed:
		default:
			w.err = w.pipe.cause()
			return "", w.err
		}
	}
	w.done = toc
	return w.pipe.diffID, nil
}

// Wait ends the compression and returns the blob's descriptor and the complete
// TOC with its groups.
func (w *Writer) Wait() (ocispec.Descriptor, *TOC, error) {
	if w.err == nil && w.done == nil {
		w.err = errors.New("layer is not finished")
		w.pipe.fail(w.err)
	}
	err := w.pipe.wait()
	if w.err != nil {
		err = w.err
	}
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	t := *w.done
	t.Compression, t.Blob, t.Groups = w.pipe.compression.Name(), w.pipe.desc.Digest, w.pipe.groups
	return w.pipe.desc, &t, nil
}

// TOC returns the table of contents without groups, once Finish has returned.
func (w *Writer) TOC() *TOC { return w.done }

// Abort stops the goroutines of a Writer that will not be finished.
func (w *Writer) Abort() {
	w.pipe.fail(errors.New("layer was aborted"))
	<-w.pipe.gone
}
