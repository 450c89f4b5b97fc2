package plan

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/ocibuild/ocibuild/layer"
	"github.com/ocibuild/ocibuild/layer/inflate"
)

// maxWindow bounds what a zstd archive may ask for, in bytes.
const maxWindow = 128 << 20

// spool gives access to the archive's tar in any order.
func (c *copier) spool(ctx context.Context, e layer.Entry) (io.ReaderAt, error) {
	f, err := c.src.Open(ctx, e)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := decompress(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	bounded := &boundedReader{ctx: ctx, r: r, most: c.t.o.Limits.OrDefault().MaxBytes}
	if c.t.o.Spool == nil {
		data, err := io.ReadAll(bounded)
		return bytes.NewReader(data), err
	}
	out, err := c.t.o.Spool()
	if err != nil {
		return nil, err
	}
	c.t.spools = append(c.t.spools, out)
	_, err = io.Copy(out, bounded)
	return out, err
}

// boundedReader reads no more than most bytes, and not when ctx is done.
type boundedReader struct {
	ctx     context.Context // of the one call that reads
	r       io.Reader
	n, most int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	if b.n += int64(n); b.n > b.most {
		return 0, fmt.Errorf("it unpacks to more than %d bytes", b.most)
	}
	return n, err
}

// decompress recognises gzip, bzip2, xz and zstd by their magic numbers.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	magic, _ := br.Peek(8)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b, 8}):
		return inflate.NewReader(br)
	case bytes.HasPrefix(magic, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(br)), nil
	case bytes.HasPrefix(magic, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		r, err := newXZ(br)
		return io.NopCloser(r), err
	case isZstd(magic):
		// With one, nothing of a small damaged frame is given: the archive would pass for a file like any other.
		d, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(br), nil
}

// isZstd tells whether a zstd frame begins so, or one that readers skip (RFC 8878, 3.1.2).
func isZstd(magic []byte) bool {
	return bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}) ||
		len(magic) == 8 && binary.LittleEndian.Uint32(magic)&0xfffffff0 == 0x184d2a50
}
