package solve

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/ocibuild/ocibuild/layer"
)

// A list of layers has one chain, however it came to be.
func TestChain(t *testing.T) {
	of := func(names string) *layer.Layer { return layer.New(digest.FromString(names), nil) }
	a, b, c, d := of("a"), of("b"), of("c"), of("d")
	laid := func(ls ...*layer.Layer) (out []Layer) {
		for _, l := range ls {
			out = lay(out, l, time.Time{})
		}
		return out
	}
	piled := func(ls ...*layer.Layer) []Layer {
		var out pile
		for _, l := range ls {
			out.put(l, time.Time{})
		}
		return out
	}
	plain := func(ls ...*layer.Layer) (out []Layer) {
		for _, l := range ls {
			out = append(out, Layer{Layer: l})
		}
		return out
	}
	join := func(lists ...[]Layer) (out []Layer) {
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	abc := laid(a, b, c)
	for what, list := range map[string][]Layer{
		"a b c":   lay(piled(a, b), c, time.Time{}),
		"a b c ":  plain(a, b, c),
		"a b c  ": join(plain(a), laid(b, c)),
		"d b c":   join(laid(d), abc[1:]), // as merges and differences are
		"d b c ":  join(piled(d), abc[1:]),
		"a d c":   join(abc[:1], laid(d), abc[2:]),
		"b c":     abc[1:],
		"a b":     abc[:2],
		"a b c d": lay(abc, d, time.Time{}),
		"d c d":   lay(join(laid(d), abc[2:]), d, time.Time{}),
		"":        nil,
	} {
		var want []Layer
		for _, name := range strings.Fields(what) {
			want = append(want, plain(of(name))...)
		}
		if got, want := chain(list), chain(want); got != want {
			t.Errorf("%q: %s, want %s", what, got, want)
		}
	}
}
