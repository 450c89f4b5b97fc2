package suite

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Compare tells how ours differs from BuildKit's result, one difference a line.
func (c *Case) Compare(want, got *Result) []string {
	if want.Error != "" || got.Error != "" {
		return c.errors(want, got)
	}
	var d diff
	d.results("", want, got)
	return d
}

// results compares images, and those of an index in their order.
func (d *diff) results(at string, want, got *Result) {
	d.annotations(at, want.Annotations, got.Annotations)
	if want.Platform != got.Platform || len(want.Images) != len(got.Images) {
		d.add("%sindex: %q with %d images, not %q with %d", at, got.Platform, len(got.Images), want.Platform, len(want.Images))
		return
	}
	for i, w := range want.Images {
		d.results(at+w.Platform+" ", w, got.Images[i])
	}
	var own diff
	own.image(want, got)
	for _, line := range own {
		d.add("%s%s", at, line)
	}
}

func (d *diff) annotations(at string, want, got map[string]map[string]string) {
	for _, on := range []string{"descriptor", "document"} {
		if w, g := want[on], got[on]; !maps.Equal(w, g) {
			d.add("%sannotations of the %s: %v, not %v", at, on, g, w)
		}
	}
}

func (d *diff) image(want, got *Result) {
	d.maps("config", want.Config, got.Config)
	if want.Layers != got.Layers {
		d.add("layers: %d, not %d", got.Layers, want.Layers)
	}
	d.history(want.History, got.History)
	d.files(want.Files, got.Files)
	d.layers(want.Entries, got.Entries)
}

// layers compares the entries of each layer. What the files have shown to differ is not told again.
func (d *diff) layers(want, got [][]File) {
	if len(want) != len(got) {
		return // their number says so
	}
	told := slices.Clone(*d)
	for i := range want {
		var own diff
		own.files(want[i], got[i])
		for _, line := range own {
			if !told.has(line) {
				d.add("layer %d %s", i, line)
			}
		}
		for j, e := range got[i] {
			if j > 0 && e.Path == got[i][j-1].Path && e.Type == got[i][j-1].Type {
				d.add("layer %d: %s is there twice", i, e.Path)
			}
		}
	}
}

// has tells whether a difference is known: a file that is there, or is not, is not described again, and what differs
// in a text differs in its digest.
func (d diff) has(line string) bool {
	what, _, _ := strings.Cut(line, ": {")
	file, isDigest := strings.CutSuffix(strings.SplitN(line, ": ", 2)[0], " digest")
	return slices.ContainsFunc(d, func(l string) bool {
		return l == line || strings.HasSuffix(what, ": unexpected") && strings.HasPrefix(l, what) || isDigest && strings.HasPrefix(l, file+" text: ")
	})
}

func (c *Case) errors(want, got *Result) []string {
	var d diff
	switch {
	case want.Error == "":
		d.add("fails: %s", got.Error)
	case got.Error == "":
		d.add("builds, but should fail: %s", want.Error)
	case !c.Says(got.Error):
		d.add("error: %q does not say %q", got.Error, c.Fails)
	case want.Line != 0 && want.Line != got.Line:
		d.add("line: %d, not %d", got.Line, want.Line)
	}
	return d
}

// Says tells whether an error says what errors of this case say, in one of the
// ways that the case allows.
func (c *Case) Says(text string) bool {
	return slices.ContainsFunc(strings.Split(c.Fails, " | "), func(way string) bool {
		return strings.Contains(strings.ToLower(text), strings.ToLower(way))
	})
}

type diff []string

func (d *diff) add(format string, a ...any) { *d = append(*d, fmt.Sprintf(format, a...)) }

func (d *diff) maps(at string, want, got map[string]any) {
	keys := maps.Clone(want)
	if keys == nil {
		keys = map[string]any{}
	}
	maps.Copy(keys, got)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		w, g := want[k], got[k]
		wm, wok := w.(map[string]any)
		gm, gok := g.(map[string]any)
		if wok && gok {
			d.maps(at+"."+k, wm, gm)
		} else if !reflect.DeepEqual(w, g) {
			d.add("%s.%s: %v, not %v", at, k, g, w)
		}
	}
}

func (d *diff) history(want, got []History) {
	for i := range max(len(want), len(got)) {
		var w, g History
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w != g {
			d.add("history %d: %+v, not %+v", i, g, w)
		}
	}
}

func (d *diff) files(want, got []File) {
	index := func(files []File) map[string]File {
		m := map[string]File{}
		for _, f := range files {
			if f.Type == whiteout || f.Type == opaque {
				f.Path += " " + f.Type // beside what takes the place
			}
			m[f.Path] = f
		}
		return m
	}
	w, g := index(want), index(got)
	all := maps.Clone(w)
	maps.Copy(all, g)
	for _, p := range slices.Sorted(maps.Keys(all)) {
		a, expected := w[p]
		b, present := g[p]
		switch {
		case !expected:
			d.add("file %s: unexpected: %+v", p, b)
		case !present:
			d.add("file %s: missing", p)
		default:
			d.file(p, a, b)
		}
	}
}

// file compares two files.
func (d *diff) file(p string, want, got File) {
	w, g := reflect.ValueOf(want), reflect.ValueOf(got)
	for i := range w.NumField() {
		name := strings.ToLower(w.Type().Field(i).Name)
		if name == "digest" && want.Text != "" && got.Text != "" {
			continue // the text says more
		}
		if a, b := w.Field(i).Interface(), g.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			d.add("file %s %s: %q, not %q", p, name, fmt.Sprint(b), fmt.Sprint(a))
		}
	}
}
