package suite

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// layered applies listings to an empty tree and says what is there.
func layered(t *testing.T, listings ...string) []string {
	t.Helper()
	tr := &tree{files: map[string]*File{}}
	for _, text := range listings {
		var raw bytes.Buffer
		if err := writeListing(&raw, text); err != nil {
			t.Fatal(err)
		}
		if err := tr.apply(&raw); err != nil {
			t.Fatal(err)
		}
	}
	var out []string
	for _, f := range tr.list() {
		out = append(out, f.Path+" "+f.Type+" "+f.Mode+f.Text+f.Link)
	}
	return out
}

func TestFlatten(t *testing.T) {
	const below = "dir 0700 0:0 d/\nfile 0644 0:0 d/a 1\nfile 0644 0:0 d/b 2\nlink 0644 0:0 h d/a\n"
	for name, tc := range map[string]struct {
		above string
		want  []string
	}{
		"nothing":            {"", []string{"/d dir 0700", "/d/a file 06441", "/d/b file 06442", "/h link /d/a"}},
		"whiteout":           {"file 0 0:0 d/.wh.a", []string{"/d dir 0700", "/d/b file 06442", "/h file 06441"}},
		"opaque spares new":  {"dir 0711 0:0 d/\nfile 0600 0:0 d/c 3\nfile 0 0:0 d/.wh..wh..opq", []string{"/d dir 0711", "/d/c file 06003", "/h file 06441"}},
		"file for directory": {"file 0600 0:0 d 3", []string{"/d file 06003", "/h file 06441"}},
		"implied parent":     {"file 0 0:0 .wh.d\nfile 0600 0:0 p/x 3", []string{"/h file 06441", "/p dir 0755", "/p/x file 06003"}},
	} {
		if got := layered(t, below, tc.above); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestCompareSeesEachField(t *testing.T) {
	c := &Case{Fails: "one way | another"}
	image := func(f File) *Result { return &Result{Layers: 1, Entries: [][]File{{}}, Files: []File{f}} }
	layers := func(all ...[]File) *Result { return &Result{Layers: len(all), Entries: all} }
	file := File{Path: "/a", Type: "file", Mode: "0644", Time: "t"}
	larger, other := file, File{Path: "/b", Type: "dir"}
	larger.Size = 2
	changed, dir, unpinned := file, file, file
	changed.Mode = "0600"
	dir.Type, unpinned.Type, unpinned.Time = "dir", "dir", ""
	index := func(all ...*Result) *Result { return &Result{Images: all} }
	noted := &Result{Annotations: map[string]map[string]string{"document": {"a": "b"}}}
	for name, tc := range map[string]struct {
		want, got *Result
		differ    bool
	}{
		"equal":                   {image(file), image(file), false},
		"mode":                    {image(file), image(changed), true},
		"missing":                 {image(file), &Result{}, true},
		"image of an index":       {index(image(file)), index(image(changed)), true},
		"images of an index":      {index(image(file)), index(image(file), image(file)), true},
		"index":                   {index(image(file)), image(file), true},
		"platform":                {index(&Result{Platform: "a"}), index(&Result{Platform: "b"}), true},
		"annotation":              {index(noted), index(&Result{}), true},
		"equal indexes":           {index(noted, image(file)), index(noted, image(file)), false},
		"time of a directory":     {image(dir), image(unpinned), true},
		"equal layers":            {layers([]File{file}), layers([]File{file}), false},
		"one layer more":          {layers([]File{file}), layers([]File{file}, nil), true},
		"size in a layer":         {layers([]File{file}), layers([]File{larger}), true},
		"twice in a layer":        {layers([]File{file}), layers([]File{file, file}), true},
		"missing in a layer":      {layers([]File{file, other}), layers([]File{file}), true},
		"fails in another way":    {&Result{Error: "one way", Line: 2}, &Result{Error: "Another", Line: 2}, false},
		"fails elsewhere":         {&Result{Error: "one way", Line: 2}, &Result{Error: "one way", Line: 3}, true},
		"fails for other reasons": {&Result{Error: "one way"}, &Result{Error: "x"}, true},
		"does not fail":           {&Result{Error: "one way"}, &Result{}, true},
	} {
		if got := c.Compare(tc.want, tc.got); (len(got) > 0) != tc.differ {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestDifferencesNeedAReasonAndACase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list.md")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("- `a/b` `file /x`:\n")
	if _, err := ReadDifferences(file); err == nil {
		t.Error("a line without a reason is taken")
	}
	write("text\n- `a/b` `file /x`: because\n- `a/b` `file /y`: because\n")
	d, err := ReadDifferences(file)
	if err != nil {
		t.Fatal(err)
	}
	c := &Case{Name: "a/b"}
	if got := d.Unknown(c, []string{"file /x mode: 1", "config: 2"}); !slices.Equal(got, []string{"config: 2"}) {
		t.Errorf("unknown: %q", got)
	}
	if got := d.Stale([]*Case{c}); len(got) != 1 {
		t.Errorf("stale: %q", got)
	}
	if got := d.Stale(nil); len(got) != 0 {
		t.Errorf("stale, though the case did not run: %q", got)
	}
}
