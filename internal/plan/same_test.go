package plan

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ocibuild/ocibuild/internal/graph"
	"github.com/ocibuild/ocibuild/layer"
)

func TestB1WhatTheBaseHasIsNotWrittenAgain(t *testing.T) {
	set := func(name string, change func(*layer.Entry)) func(*Tree) {
		return func(tr *Tree) { nodeOf(t, tr, name).change(change) }
	}
	linked := func(names ...string) func(*Tree) {
		return func(tr *Tree) {
			for _, n := range names {
				nodeOf(t, tr, n).change(func(e *layer.Entry) { e.Inode = names[0] })
			}
		}
	}
	both := []string{"d/f=1", "d/g=1", "d/s->f", "e/"}
	for name, tc := range map[string]struct {
		base, src             []string
		changeBase, changeSrc func(*Tree)
		want                  string
	}{
		"nothing new":                {base: both, src: both},
		"one new file":               {base: both, src: append([]string{"d/n=2"}, both...), want: "d/ 755\nd/n=2 644\n"},
		"other content":              {base: both, src: []string{"d/f=2"}, want: "d/ 755\nd/f=2 644\n"},
		"other length":               {base: both, src: []string{"d/f=11"}, want: "d/ 755\nd/f=11 644\n"},
		"other mode":                 {base: both, src: []string{"d/f=1 600 0:0"}, want: "d/ 755\nd/f=1 600\n"},
		"other owner":                {base: both, src: []string{"d/f=1 644 1:0"}, want: "d/ 755\nd/f=1 644 1:0\n"},
		"other group":                {base: both, src: []string{"d/f=1 644 0:1"}, want: "d/ 755\nd/f=1 644 0:1\n"},
		"other target":               {base: both, src: []string{"d/s->g"}, want: "d/ 755\nd/s->g\n"},
		"other type":                 {base: both, src: []string{"d/s=1"}, want: "d/ 755\nd/s=1 644\n"},
		"other directory":            {base: both, src: []string{"e/ 700 0:0"}, want: "e/ 700\n"},
		"empty file":                 {base: []string{"f="}, src: []string{"f="}},
		"other time":                 {base: both, src: both, changeSrc: set("d/f", func(e *layer.Entry) { e.ModTime = 6 }), want: "d/ 755\nd/f=1 644\n"},
		"other time of a directory":  {base: both, src: both, changeSrc: set("d", func(e *layer.Entry) { e.ModTime = 6 })},
		"attribute":                  {base: both, src: both, changeSrc: set("d/f", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.x": "1"} }), want: "d/ 755\nd/f=1 644\n"},
		"attribute of a directory":   {base: both, src: both, changeBase: set("e", func(e *layer.Entry) { e.Xattrs = map[string]string{"user.x": "1"} }), want: "e/ 755\n"},
		"linked in both":             {base: both, src: both, changeBase: linked("d/f", "d/g"), changeSrc: linked("d/g", "d/f")},
		"linked in the source only":  {base: both, src: both, changeSrc: linked("d/g", "d/f"), want: "d/ 755\nd/f=1 644\nd/g==d/f\n"},
		"one of two names is new":    {base: []string{"d/f=1"}, src: both[:2], changeSrc: linked("d/g", "d/f"), want: "d/ 755\nd/f=1 644\nd/g==d/f\n"},
		"one of two names is copied": {base: both, src: both[:1], changeBase: linked("d/f", "d/g")},
	} {
		t.Run(name, func(t *testing.T) {
			base, src := tree(t, tc.base...), tree(t, tc.src...)
			if tc.changeBase != nil {
				tc.changeBase(base)
			}
			if tc.changeSrc != nil {
				tc.changeSrc(src)
			}
			tr := New(base, Options{Now: time.Unix(1000, 0)})
			must(t, tr.Copy(ctx, src, dockerfileCopy("/", "/"), nil))
			if diff := cmp.Diff(tc.want, changes(t, tr)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What was removed and made again hides the base, so it must be written whole.
func TestB1WhatWasRemovedIsWrittenAgain(t *testing.T) {
	base := tree(t, "d/f=1", "d/g=1")
	tr := New(base, Options{Now: time.Unix(1000, 0)})
	must(t, tr.Remove(ctx, &graph.Remove{Path: "/d"}))
	must(t, tr.Copy(ctx, tree(t, "d/f=1"), dockerfileCopy("/", "/"), nil))
	if got := changes(t, tr); got != "d/ 755 opaque\nd/f=1 644\n" {
		t.Errorf("changes\n%s", got)
	}
}
