package builder

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/internal/frontend"
	"github.com/ocibuild/ocibuild/internal/source"
	"github.com/ocibuild/ocibuild/internal/source/local"
)

// localNamed is what the directories of named contexts are called in a graph.
const localNamed = "context:"

// contextName completes the name of a named context as FROM and COPY --from
// look it up: an image's name stands for it with and without ":latest".
func contextName(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", &OptionError{"build-context", fmt.Sprintf("%q is not a name: %v", name, err)}
	}
	return strings.TrimSuffix(reference.FamiliarString(named), ":latest"), nil
}

// validateContexts refuses what could only fail later.
func (o *Options) validateContexts() error {
	switch {
	case o.Context == "" && o.ContextData == nil:
		return &OptionError{"context", "no directory is given"}
	case o.Context != "" && o.ContextData != nil:
		return &OptionError{"context", "given by name and as data"}
	}
	seen := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(o.Contexts)) {
		name, err := contextName(k)
		switch {
		case err != nil:
			return err
		case seen[name] != "":
			return &OptionError{"build-context", fmt.Sprintf("%q and %q are one name", seen[name], k)}
		case o.Contexts[k] == "":
			return &OptionError{"build-context", fmt.Sprintf("%s: no directory, image or URL is given", k)}
		}
		seen[name] = k
	}
	return nil
}

// namedContexts returns the named contexts as the frontend wants them, after a
// look at what is on this machine.
func (b *build) namedContexts() (map[string]string, error) {
	out := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(b.o.Contexts)) {
		name, err := contextName(k)
		if err != nil {
			return nil, err
		}
		if out[name], err = b.namedContext(name, b.o.Contexts[k]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (b *build) namedContext(name, value string) (string, error) {
	if strings.HasPrefix(value, "docker-image://") || strings.HasPrefix(value, frontend.TargetContext) {
		return value, nil
	}
	if spec, ok := strings.CutPrefix(value, "oci-layout://"); ok {
		root, err := b.importLayout(spec)
		if err != nil {
			return "", &OptionError{"build-context", fmt.Sprintf("%s: %v", name, err)}
		}
		b.imports = append(b.imports, func() error {
			_, err := b.importLayout(spec)
			return err
		})
		return "oci-layout://layout@" + root.String(), nil
	}
	if IsRemote(value) {
		return value, nil
	}
	if err := checkDir("build-context", value); err != nil {
		return "", err
	}
	// The frontend takes an ignore file that it cannot read for none at all.
	if _, _, err := local.ReadIgnore(value, ""); err != nil {
		return "", err
	}
	b.dirs[localNamed+name] = value
	return "local:" + localNamed + name, nil
}

// importLayout brings the image of an OCI layout into the store. spec is
// "FOLDER[:TAG][@DIGEST]"; without both, the layout's only image is meant, or
// the one called latest.
func (b *build) importLayout(spec string) (digest.Digest, error) {
	dir, dgst, _ := strings.Cut(spec, "@")
	tag := ""
	if i := strings.LastIndexByte(dir, ':'); i > strings.LastIndexAny(dir, `/\`) && i > len(filepath.VolumeName(dir)) {
		dir, tag = dir[:i], dir[i+1:]
	}
	layout, err := source.OpenLayout(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = layout.Close() }() // it was only read
	layout.Limits = b.o.Bounds.Image
	root := digest.Digest(dgst)
	if root == "" {
		if root, err = layout.Find(tag); err != nil {
			return "", err
		}
	}
	for _, p := range b.o.wanted() {
		if err := layout.Import(b.ctx, b.dir, root, p); err != nil {
			return "", err
		}
	}
	b.layouts[root] = true
	return root, nil
}

// contextDir returns the directory that a name in the graph stands for.
func (b *build) contextDir(name string) (string, error) {
	if name == frontend.LocalContext {
		return b.o.Context, nil
	}
	if dir, ok := b.dirs[name]; ok {
		return dir, nil
	}
	return "", fmt.Errorf("there is no build context %q", strings.TrimPrefix(name, localNamed))
}

// statIndex returns the index of a context's directory. It needs b.mu.
func (b *build) statIndex(dir string) (*local.Index, error) {
	if x := b.indexes[dir]; x != nil {
		return x, nil
	}
	file, err := local.IndexFile(b.dir.Path(), dir)
	if err != nil {
		return nil, err
	}
	b.indexes[dir] = local.OpenIndex(file)
	return b.indexes[dir], nil
}
