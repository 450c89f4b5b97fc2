package output

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/layer"
)

// Archive writes an image as a tar file in the shape of an OCI image layout.
// The same image always gives the same bytes.
type Archive struct {
	Path   string    // of the file; it is replaced when the archive is complete
	Writer io.Writer // takes the archive when Path is empty
	Names  []string  // references; none means the result's own
	// Docker adds the manifest.json that every version of docker load reads.
	Docker bool
}

// Validate refuses what says neither a path nor a writer.
func (o *Archive) Validate() error { return pathOrWriter("archive", o.Path, o.Writer) }

// Layer implements Sink: an archive is written in one go.
func (o *Archive) Layer(context.Context, *layer.Layer) error { return nil }

// Write implements Sink.
func (o *Archive) Write(ctx context.Context, r *Result) error {
	if err := o.Validate(); err != nil {
		return err
	}
	names, err := tagged(o.Names, r)
	if err != nil {
		return err
	}
	files, err := o.files(ctx, r, names)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	write := func(w io.Writer) error { return writeTar(ctx, w, files) }
	switch {
	case o.Path != "":
		err = toFile(o.Path, write)
	default:
		err = brokenOff(write(guardedWriter{"Archive.Writer", o.Writer}))
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", o.Path, err)
	}
	return nil
}

// brokenOff makes an error final that came when a stream was half written: it
// cannot be written again from its start.
func brokenOff(err error) error {
	if d, ok := errors.AsType[*cache.DamagedError](err); ok {
		return fmt.Errorf("what was written is cut short: %s; do it again", d.Error())
	}
	return err
}

// member is one file of the archive; a name that ends in "/" is a directory.
type member struct {
	name string
	blob
}

func (o *Archive) files(ctx context.Context, r *Result, names []reference.NamedTagged) ([]member, error) {
	blobs, err := blobsOf(ctx, r)
	if err != nil {
		return nil, err
	}
	index := newIndex()
	index.Manifests = indexEntries(r, names)
	indexJSON, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	files := []member{
		{name: ocispec.ImageBlobsDir + "/"}, {name: ocispec.ImageBlobsDir + "/sha256/"},
		inMemory(ocispec.ImageIndexFile, indexJSON), inMemory(ocispec.ImageLayoutFile, []byte(layoutMarker)),
	}
	for _, b := range blobs {
		files = append(files, member{name: blobName(b.digest.Encoded()), blob: b})
	}
	if o.Docker {
		if r.Index != nil {
			return nil, errors.New("the docker format has no index of several platforms: build for one, or write an OCI archive")
		}
		m, err := dockerManifest(r.Images[0], names)
		if err != nil {
			return nil, err
		}
		files = append(files, inMemory("manifest.json", m))
	}
	slices.SortFunc(files, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

func inMemory(name string, data []byte) member {
	return member{name: name, blob: blob{data: data, size: int64(len(data))}}
}

func blobName(encoded string) string { return ocispec.ImageBlobsDir + "/sha256/" + encoded }

// dockerManifest is what docker save writes beside the layout.
func dockerManifest(img *Image, names []reference.NamedTagged) ([]byte, error) {
	m, err := manifestOf(img)
	if err != nil {
		return nil, err
	}
	type entry struct{ Config, RepoTags, Layers any }
	tags, layers := []string{}, []string{}
	for _, n := range names {
		tags = append(tags, reference.FamiliarString(n))
	}
	for _, l := range m.Layers {
		layers = append(layers, blobName(l.Digest.Encoded()))
	}
	return json.Marshal([]entry{{Config: blobName(m.Config.Digest.Encoded()), RepoTags: tags, Layers: layers}})
}

func writeTar(ctx context.Context, w io.Writer, files []member) error {
	buffered := bufio.NewWriterSize(w, 1<<20)
	tw := tar.NewWriter(buffered)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeMember(ctx, tw, f); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return buffered.Flush()
}

func writeMember(ctx context.Context, tw *tar.Writer, f member) error {
	h := &tar.Header{Name: f.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: f.size, ModTime: time.Unix(0, 0)}
	if strings.HasSuffix(f.name, "/") {
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
		return tw.WriteHeader(h)
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	return f.copyTo(ctx, tw)
}
