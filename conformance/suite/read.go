package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ReadResult describes the image in an OCI layout.
func ReadResult(dir string, clock Clock) (*Result, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	all, err := readIndex(index, clock)
	if err != nil {
		return nil, fmt.Errorf("image in %s: %w", dir, err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("image in %s: %d where one was expected", dir, len(all))
	}
	top := all[0]
	top.Platform = "" // a layout does not have to tell
	// That of the layout's own entry is the time at which the layout was written.
	if delete(top.Annotations["descriptor"], ocispec.AnnotationCreated); len(top.Annotations["descriptor"]) == 0 {
		delete(top.Annotations, "descriptor")
	}
	return top, nil
}

// readIndex describes what an index lists.
func readIndex(index v1.ImageIndex, clock Clock) ([]*Result, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var out []*Result
	for _, d := range m.Manifests {
		r := &Result{}
		if d.Platform != nil {
			r.Platform = d.Platform.String()
		}
		r.annotated("descriptor", d.Annotations)
		read := r.image
		if d.MediaType.IsIndex() {
			read = r.index
		}
		if err := read(index, d.Digest, clock); err != nil {
			return nil, fmt.Errorf("%s: %w", d.Digest, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (r *Result) index(in v1.ImageIndex, id v1.Hash, clock Clock) error {
	index, err := in.ImageIndex(id)
	if err != nil {
		return err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return err
	}
	r.annotated("document", m.Annotations)
	r.Images, err = readIndex(index, clock)
	return err
}

func (r *Result) image(in v1.ImageIndex, id v1.Hash, clock Clock) error {
	img, err := in.Image(id)
	if err != nil {
		return err
	}
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	r.annotated("document", m.Annotations)
	if err := r.config(img); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	t := &tree{files: map[string]*File{}, clock: clock}
	r.Layers = len(layers)
	r.Entries, err = t.layers(layers)
	r.Files = t.list()
	return err
}

// annotated notes annotations, but for a time that is a clock's and for names,
// which no case gives.
func (r *Result) annotated(what string, a map[string]string) {
	a = maps.Clone(a)
	delete(a, ocispec.AnnotationRefName)
	if t, err := time.Parse(time.RFC3339, a[ocispec.AnnotationCreated]); err == nil && pinned(t) == "" {
		delete(a, ocispec.AnnotationCreated)
	}
	if len(a) == 0 {
		return
	}
	if r.Annotations == nil {
		r.Annotations = map[string]map[string]string{}
	}
	r.Annotations[what] = a
}

func (r *Result) config(img v1.Image) error {
	data, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	var c struct {
		RootFS  v1.RootFS
		History []struct {
			Created   time.Time `json:"created"`
			CreatedBy string    `json:"created_by"`
			Comment   string    `json:"comment"`
			Author    string    `json:"author"`
			Empty     bool      `json:"empty_layer"`
		}
		Created time.Time
	}
	if err := errors.Join(json.Unmarshal(data, &c), json.Unmarshal(data, &r.Config)); err != nil {
		return err
	}
	for _, h := range c.History {
		r.History = append(r.History, History{h.CreatedBy, h.Comment, h.Author, pinned(h.Created), h.Empty})
	}
	delete(r.Config, "rootfs")
	delete(r.Config, "history")
	delete(r.Config, "created")
	if at := pinned(c.Created); at != "" {
		r.Config["created"] = at
	}
	return nil
}
