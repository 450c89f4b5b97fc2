package layer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/layer/inflate"
)

// Compression turns groups of raw bytes into members of a blob.
type Compression interface {
	// Name identifies the exact bytes this compression yields: algorithm,
	// level and encoder version. It enters cache keys.
	Name() string
	// MediaType is the OCI media type of a layer compressed so.
	MediaType() string
	// Append compresses raw as one self-contained member and appends it to
	// dst. It is called by several goroutines at once, and its bytes depend on
	// raw alone.
	Append(dst, raw []byte) ([]byte, error)
}

// encoderVersion is that of klauspost/compress: no release promises the bytes
// of another. A test compares it with go.mod.
const encoderVersion = "klauspost-1.20.3"

// The compressions of layers.
var (
	// Gzip is the default: every registry and runtime reads it.
	Gzip Compression = &gzipCompression{}
	// Zstd is smaller and faster; older runtimes cannot read it.
	Zstd Compression = &zstdCompression{}
	// Uncompressed stores the tar as it is.
	Uncompressed Compression = uncompressed{}
)

const gzipLevel = 5

type gzipCompression struct{ writers sync.Pool }

func (*gzipCompression) Name() string      { return fmt.Sprintf("gzip-%d/%s", gzipLevel, encoderVersion) }
func (*gzipCompression) MediaType() string { return ocispec.MediaTypeImageLayerGzip }

func (c *gzipCompression) Append(dst, raw []byte) ([]byte, error) {
	out := (*appender)(&dst)
	z, _ := c.writers.Get().(*gzip.Writer)
	if z == nil {
		var err error
		if z, err = gzip.NewWriterLevel(out, gzipLevel); err != nil {
			return nil, err
		}
	} else {
		z.Reset(out)
	}
	z.ModTime = time.Unix(0, 0) // "no time"; the zero Time would be stored as a date in 2042
	if _, err := z.Write(raw); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	z.Reset(nil) // or the pool would keep dst
	c.writers.Put(z)
	return dst, nil
}

type zstdCompression struct{ encoders sync.Pool }

func (*zstdCompression) Name() string      { return "zstd-default/" + encoderVersion }
func (*zstdCompression) MediaType() string { return ocispec.MediaTypeImageLayerZstd }

func (c *zstdCompression) Append(dst, raw []byte) ([]byte, error) {
	z, _ := c.encoders.Get().(*zstd.Encoder)
	if z == nil {
		var err error
		// All that shapes the bytes is fixed here, defaults included: one of
		// them is the number of cores.
		z, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(4<<20), zstd.WithEncoderCRC(true), zstd.WithZeroFrames(true), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
	}
	defer c.encoders.Put(z)
	return z.EncodeAll(raw, dst), nil
}

type uncompressed struct{}

func (uncompressed) Name() string      { return "none" }
func (uncompressed) MediaType() string { return ocispec.MediaTypeImageLayer }

func (uncompressed) Append(dst, raw []byte) ([]byte, error) { return append(dst, raw...), nil }

// NewReader decompresses a layer blob of the given media type. Gzip, zstd and
// uncompressed layers of OCI and Docker media types are known. A blob that is
// not what its media type says is an error, here or from Read.
func NewReader(r io.Reader, mediaType string) (io.ReadCloser, error) {
	algorithm, ok := mediaTypes[mediaType]
	if !ok {
		return nil, fmt.Errorf("unknown layer media type %q", mediaType)
	}
	in := bufio.NewReaderSize(r, 128<<10)
	start, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for name, magic := range magics {
		if bytes.HasPrefix(start, magic) != (name == algorithm) {
			return nil, fmt.Errorf("layer blob is not what its media type %q says", mediaType)
		}
	}
	return decoders[algorithm](in)
}

var mediaTypes = map[string]string{
	ocispec.MediaTypeImageLayer:     "none",
	ocispec.MediaTypeImageLayerGzip: "gzip",
	ocispec.MediaTypeImageLayerZstd: "zstd",

	"application/vnd.oci.image.layer.nondistributable.v1.tar":      "none",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",

	"application/vnd.docker.image.rootfs.diff.tar":              "none",
	"application/vnd.docker.image.rootfs.diff.tar.gzip":         "gzip",
	"application/vnd.docker.image.rootfs.diff.tar.zstd":         "zstd",
	"application/vnd.docker.image.rootfs.foreign.diff.tar":      "none",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd": "zstd",
}

// magics tells compressed blobs apart.
var magics = map[string][]byte{
	"gzip": {0x1f, 0x8b},
	"zstd": {0x28, 0xb5, 0x2f, 0xfd},
}

var decoders = map[string]func(io.Reader) (io.ReadCloser, error){
	"none": func(r io.Reader) (io.ReadCloser, error) { return io.NopCloser(r), nil },
	"gzip": func(r io.Reader) (io.ReadCloser, error) { return inflate.NewReader(r) },
	"zstd": newZstdReader,
}

// maxZstdWindow bounds the memory a frame may ask for; it is what the zstd tool
// itself accepts without being told otherwise.
const maxZstdWindow = 128 << 20

func newZstdReader(r io.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxZstdWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}
