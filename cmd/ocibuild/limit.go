package main

import (
	"strings"

	"github.com/ocibuild/ocibuild/builder"
)

// limits are what --limit can set, each with a row in its help.
var limits = []struct {
	name, meaning string
	set           func(*builder.Bounds, int64)
}{
	{"layer-bytes", "of a layer or an archive, unpacked (64 GiB)", func(l *builder.Bounds, n int64) { l.Layer.MaxBytes = n }},
	{"layer-entries", "files in it (4000000)", func(l *builder.Bounds, n int64) { l.Layer.MaxEntries = int(n) }},
	{"header-bytes", "of a file's name, link and attributes (1 MiB)", func(l *builder.Bounds, n int64) { l.Layer.MaxHeader = n }},
	{"name-bytes", "of a file's path (4095)", func(l *builder.Bounds, n int64) { l.Layer.MaxName = int(n) }},
	{"name-depth", "parts of a file's path (2048)", func(l *builder.Bounds, n int64) { l.Layer.MaxDepth = int(n) }},
	{"layers", "of an image (4096)", func(l *builder.Bounds, n int64) { l.Image.MaxLayers = int(n) }},
	{"manifest-bytes", "of a manifest or an index (4 MiB)", func(l *builder.Bounds, n int64) { l.Image.MaxManifest = n }},
	{"config-bytes", "of an image's config (8 MiB)", func(l *builder.Bounds, n int64) { l.Image.MaxConfig = n }},
	{"download-bytes", "of a file that ADD fetches (64 GiB)", func(l *builder.Bounds, n int64) { l.Download = n }},
}

// limitHelp explains the flag.
func limitHelp() string {
	var b strings.Builder
	b.WriteString("`NAME=NUMBER`: the most that an image, an archive or a download may demand:")
	for _, l := range limits {
		b.WriteString("\n" + l.name + ": " + l.meaning)
	}
	return b.String()
}

// parseLimits reads "NAME=NUMBER"; the number may have a unit, as a size has.
func parseLimits(list []string) (builder.Bounds, error) {
	var out builder.Bounds
	for _, s := range list {
		name, value, _ := strings.Cut(s, "=")
		n, err := parseSize("--limit "+name, value)
		if err != nil {
			return out, err
		}
		if n == 0 {
			return out, usagef("--limit %q: not of the form NAME=NUMBER, such as layer-bytes=10g", s)
		}
		known := false
		for _, l := range limits {
			if l.name == name {
				l.set(&out, n)
				known = true
			}
		}
		if !known {
			return out, usagef("--limit %q: there is no limit %q", s, name)
		}
	}
	return out, nil
}
