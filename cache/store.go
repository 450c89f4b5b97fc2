package cache

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
)

// ErrNotFound is returned by a Store that has no record for a key.
var ErrNotFound = errors.New("no record")

// Layer names one layer of a result: enough to find its bytes, here or in the
// registry it came from, and to write it into a manifest.
type Layer struct {
	DiffID      digest.Digest     `json:"diffID"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"` // bytes of the compressed blob
	MediaType   string            `json:"mediaType"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Origin is the "registry/repository" the blob can be had from; empty when
	// only the store has it.
	Origin string `json:"origin,omitempty"`
	// Created is when the step that made the layer ran; zero for base layers,
	// whose images tell.
	Created time.Time `json:"created,omitzero"`
}

// Record is what a step yielded.
type Record struct {
	// Outputs holds the layers of each output of the step, lowest first.
	Outputs [][]Layer `json:"outputs"`
	// Below names, for each output, the record whose first output lies below its
	// layers, as [Key.String] has it; empty or missing where nothing does. So
	// records of images with many layers share what they list.
	Below []string `json:"below,omitempty"`
	// Parts are the ingredients of the key.
	Parts []Part `json:"parts,omitempty"`
}

// Store keeps records and blobs. It is safe for concurrent use by any number
// of goroutines, and a Dir also by any number of processes.
type Store interface {
	// Get returns the record of k, or ErrNotFound. A damaged record is a miss
	// whose error tells the reason and is ErrNotFound as well.
	Get(ctx context.Context, k Key) (*Record, error)
	// Put keeps r under k, and under further keys; older records are replaced.
	Put(ctx context.Context, k Key, r *Record, also ...Key) error
	Blobs
}

// Blobs is content-addressed storage.
type Blobs interface {
	// Has tells whether the blob is there, and its size in bytes.
	Has(ctx context.Context, d digest.Digest) (size int64, ok bool)
	// Open reads a blob; the error is fs.ErrNotExist if there is none.
	Open(ctx context.Context, d digest.Digest) (io.ReadCloser, error)
	// Write keeps the bytes of r, which must have the digest d and, unless
	// negative, the size given; otherwise nothing is kept.
	Write(ctx context.Context, r io.Reader, d digest.Digest, size int64) error
}
