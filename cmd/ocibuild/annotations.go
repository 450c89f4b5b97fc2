package main

import (
	"regexp"
	"strings"

	"github.com/containerd/platforms"

	"github.com/ocibuild/ocibuild/builder"
)

// annotatedType is one type of --annotation: "manifest", "index", or
// "manifest[linux/amd64]".
var annotatedType = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/.-]+)\])?$`)

// annotations reads "[TYPE[PLATFORM],…:]KEY=VALUE" as buildx does.
func annotations(list []string) ([]builder.Annotation, error) {
	var out []builder.Annotation
	for _, s := range list {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, usagef("--annotation %q: not of the form [TYPE:]KEY=VALUE", s)
		}
		types := []string{string(builder.OnManifest)}
		if before, after, ok := strings.Cut(key, ":"); ok {
			types, key = strings.Split(before, ","), after
		}
		for _, t := range types {
			a, err := annotation(t, s)
			if err != nil {
				return nil, err
			}
			a.Key, a.Value = key, value
			out = append(out, a)
		}
	}
	return out, nil
}

func annotation(kind, flag string) (builder.Annotation, error) {
	m := annotatedType.FindStringSubmatch(kind)
	if m == nil {
		return builder.Annotation{}, usagef("--annotation %q: %q is not a type, such as manifest or manifest[linux/amd64]", flag, kind)
	}
	a := builder.Annotation{On: builder.Annotated(m[1])}
	if m[2] != "" {
		p, err := platforms.Parse(m[2])
		if err != nil {
			return a, usagef("--annotation %q: %v", flag, err)
		}
		a.Platform = &p
	}
	return a, nil
}
