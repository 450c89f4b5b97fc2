package lab

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"

	"github.com/ocibuild/ocibuild/internal/busybox"
)

// PushBusybox makes an image of the machine's own static busybox.
func (l *Lab) PushBusybox(ctx context.Context, repository string) (string, error) {
	binary, err := staticBusybox()
	if err != nil {
		return "", err
	}
	made, err := l.layer(func(t *tar.Writer) error { return writeBusybox(t, binary) })
	if err != nil {
		return "", err
	}
	return l.push(ctx, repository, made)
}

// PushFiles makes an image of the files, spread over the number of layers.
func (l *Lab) PushFiles(ctx context.Context, repository string, f Files, layers int) (string, error) {
	part := Files{Count: f.Count / layers, Bytes: f.Bytes / int64(layers)}
	made := make([]v1.Layer, layers)
	for i := range made {
		part.Seed = f.Seed + uint64(i)
		prefix := fmt.Sprintf("usr/share/part%d", i)
		var err error
		made[i], err = l.layer(func(t *tar.Writer) error { return writeFiles(t, prefix, part) })
		if err != nil {
			return "", err
		}
	}
	return l.push(ctx, repository, made...)
}

func (l *Lab) push(ctx context.Context, repository string, layers ...v1.Layer) (string, error) {
	img, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", repository, err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64",
		RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(layers)},
		Config: v1.Config{Env: []string{"PATH=/bin:/usr/bin"}},
	})
	if err != nil {
		return "", fmt.Errorf("image %s: %w", repository, err)
	}
	img = mutate.ConfigMediaType(mutate.MediaType(img, types.OCIManifestSchema1), types.OCIConfigJSON)
	ref, err := name.ParseReference(l.origin+"/"+repository, name.Insecure)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", repository, err)
	}
	if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
		return "", fmt.Errorf("push %s: %w", repository, err)
	}
	return l.Host() + "/" + repository, nil
}

func diffIDs(layers []v1.Layer) []v1.Hash {
	var ids []v1.Hash
	for _, l := range layers {
		ids = append(ids, l.(*blobLayer).diffID)
	}
	return ids
}

// layer writes a compressed layer to a file.
func (l *Lab) layer(write func(*tar.Writer) error) (*blobLayer, error) {
	f, err := os.CreateTemp(l.dir, "layer-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blob := &counter{w: f, sum: sha256.New()}
	zip, err := gzip.NewWriterLevel(blob, gzip.DefaultCompression)
	if err != nil {
		return nil, err
	}
	raw := &counter{w: zip, sum: sha256.New()}
	t := tar.NewWriter(raw)
	if err := write(t); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	if err := t.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return &blobLayer{path: f.Name(), size: blob.n, digest: blob.digest(), diffID: raw.digest()}, nil
}

type counter struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	c.sum.Write(p)
	return c.w.Write(p)
}

func (c *counter) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(c.sum.Sum(nil))}
}

// blobLayer is a layer in a file: nothing is held in memory.
type blobLayer struct {
	path           string
	size           int64
	digest, diffID v1.Hash
}

func (b *blobLayer) Digest() (v1.Hash, error)             { return b.digest, nil }
func (b *blobLayer) DiffID() (v1.Hash, error)             { return b.diffID, nil }
func (b *blobLayer) Size() (int64, error)                 { return b.size, nil }
func (b *blobLayer) MediaType() (types.MediaType, error)  { return types.OCILayer, nil }
func (b *blobLayer) Compressed() (io.ReadCloser, error)   { return os.Open(b.path) }
func (b *blobLayer) Uncompressed() (io.ReadCloser, error) { return nil, fmt.Errorf("not kept") }

func writeFiles(t *tar.Writer, prefix string, f Files) error {
	var buf []byte
	last := ""
	for _, file := range f.list() {
		if dir := path.Dir(file.name); dir != last {
			last = dir
			h := &tar.Header{Typeflag: tar.TypeDir, Name: path.Join(prefix, dir) + "/", Mode: 0o755, ModTime: epoch}
			if err := t.WriteHeader(h); err != nil {
				return err
			}
		}
		buf = fill(buf, file)
		if err := writeFile(t, path.Join(prefix, file.name), 0o644, buf); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(t *tar.Writer, name string, mode int64, data []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data)), ModTime: epoch}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

func writeBusybox(t *tar.Writer, binary []byte) error {
	for _, dir := range []string{"bin/", "etc/", "tmp/", "root/"} {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch}); err != nil {
			return err
		}
	}
	if err := writeFile(t, "bin/busybox", 0o755, binary); err != nil {
		return err
	}
	for _, applet := range []string{"sh", "cat", "echo", "true", "ls"} {
		h := &tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox", Mode: 0o777, ModTime: epoch}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
	}
	return writeFile(t, "etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
}

func staticBusybox() ([]byte, error) {
	path, err := busybox.Static()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
