package isolation

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ocibuild/ocibuild/layer"
)

// listing reads an image as "ocibuild save" writes it, and tells what the layers
// above the base hold: a line for each entry, in the order of the layer. With sums
// it tells of the content of files, too.
func listing(saved []byte, base string, sums bool) (string, error) {
	blobs := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(saved)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
		if blobs[strings.TrimPrefix(h.Name, "blobs/sha256/")], err = io.ReadAll(r); err != nil {
			return "", err
		}
	}
	var index ocispec.Index
	var manifest ocispec.Manifest
	if err := json.Unmarshal(blobs["index.json"], &index); err != nil {
		return "", err
	}
	if err := json.Unmarshal(blobs[index.Manifests[0].Digest.Encoded()], &manifest); err != nil {
		return "", err
	}
	var b strings.Builder
	for i, l := range manifest.Layers {
		if l.Digest.String() == base {
			continue
		}
		fmt.Fprintf(&b, "layer %d\n", i)
		if err := list(&b, blobs[l.Digest.Encoded()], l.MediaType, sums); err != nil {
			return "", fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return b.String(), nil
}

func list(b *strings.Builder, blob []byte, mediaType string, sums bool) error {
	raw, err := layer.NewReader(bytes.NewReader(blob), mediaType)
	if err != nil {
		return err
	}
	defer raw.Close()
	for r := layer.NewTarReader(context.Background(), raw, layer.Limits{}); ; {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text := line(e)
		if sums && e.Type == layer.Regular {
			content, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" sum %.8x", sha256.Sum256(content))
		}
		fmt.Fprintln(b, text)
	}
}

var kinds = map[layer.Type]string{
	layer.Regular: "file", layer.Hardlink: "hard", layer.Symlink: "link", layer.Char: "char", layer.Block: "block",
	layer.Directory: "dir", layer.Fifo: "fifo", layer.Whiteout: "gone",
}

// line tells of an entry. Times are told of where they are not the epoch: there
// they were given, and not what a clock said.
func line(e layer.Entry) string {
	if e.Opaque { // a mark that stands for itself
		return "opaque " + strconv.Quote(e.Name)
	}
	words := []string{kinds[e.Type], strconv.Quote(e.Name)}
	if e.Type == layer.Whiteout {
		return strings.Join(words, " ")
	}
	words = append(words, fmt.Sprintf("%04o %d:%d", e.Mode, e.UID, e.GID))
	switch e.Type {
	case layer.Regular:
		words = append(words, fmt.Sprintf("%d bytes", e.Size))
	case layer.Hardlink, layer.Symlink:
		words = append(words, "to "+strconv.Quote(e.Linkname))
	case layer.Char, layer.Block:
		words = append(words, fmt.Sprintf("%d,%d", e.Devmajor, e.Devminor))
	}
	if e.ModTime != epoch.Unix() {
		words = append(words, fmt.Sprintf("@%d", e.ModTime))
	}
	for _, k := range slices.Sorted(maps.Keys(e.Xattrs)) {
		words = append(words, fmt.Sprintf("%s=%x", k, e.Xattrs[k]))
	}
	return strings.Join(words, " ")
}
