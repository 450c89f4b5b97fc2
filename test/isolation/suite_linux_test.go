package isolation

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the layers are into the cases, for somebody to read")

// What comes of a case on one way, as the table shows it.
const (
	same    = "ok" // the image of the others, or the failure that is right
	refused = "-"  // as the case says
	other   = "~"  // likewise: another image
	wrong   = "WRONG"
)

// TestWays builds every case on every way.
func TestWays(t *testing.T) {
	dir := openDir(t)
	s := &suite{}
	s.ways, s.absent = openAll(t, dir)
	s.agent = startAgent(t, dir)
	cases := readCases(t)
	t.Cleanup(func() { s.print(os.Stdout) })
	for _, c := range cases {
		must(t, c.write(dir))
	}
	s.base = baseLayer(t, s.ways)
	for _, c := range cases {
		row := s.row(c.name)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s.build(t, c, row)
		})
	}
}

// baseLayer is the digest of the layer of the base, of which there is one.
func baseLayer(t *testing.T, ways []*way) string {
	t.Helper()
	if len(ways) == 0 {
		t.Fatal("there is no way to build anything")
	}
	var about struct{ Layers []struct{ Digest string } }
	o := ways[0].run(nil, "inspect", "busybox")
	if err := json.Unmarshal([]byte(o.stdout), &about); err != nil || len(about.Layers) != 1 {
		t.Fatalf("inspect: %v: %+v %s", err, about, o.stderr)
	}
	return about.Layers[0].Digest
}

// suite is the ways that are compared, and what has come of it so far.
type suite struct {
	ways   []*way
	absent []string
	agent  string
	base   string // the digest of the base's layer
	rows   []*row
}

// build builds a case on every way.
func (s *suite) build(t *testing.T, c *buildCase, row *row) {
	row.tried = true
	var first *way // that has built it
	var digest string
	for i, w := range s.ways {
		if t.Failed() && first == nil {
			return // there is nothing to compare with
		}
		row.cells[i] = wrong
		o := w.build(c, s.agent)
		if strings.Contains(o.stderr, "goroutine ") {
			t.Errorf("%s: it panics:\n%s", w.name, o.stderr)
			continue
		}
		if want := c.refusal(w); want != nil {
			if why := fails(o, want); why != "" {
				t.Errorf("%s: it should not be possible, and %s", w.name, why)
				continue
			}
			row.cells[i] = refused
			continue
		}
		if c.fails != nil {
			if why := fails(o, c.fails); why != "" {
				t.Errorf("%s: it should fail, and %s", w.name, why)
				continue
			}
			row.cells[i] = same
			continue
		}
		switch {
		case o.code != 0:
			t.Errorf("%s: exit code %d\n%s", w.name, o.code, o.stderr)
		case c.isOther(w): // and is not what others are compared with
			if row.cells[i] = other; o.stdout == digest {
				row.cells[i] = wrong
				t.Errorf("%s: the image is the same, and the case says that it differs", w.name)
			}
		case first == nil:
			first, digest = w, o.stdout
			if s.look(t, c, w) {
				row.cells[i] = same
			}
		case o.stdout != digest:
			t.Errorf("the images of %s (-) and %s (+) differ:\n%s", first.name, w.name, s.difference(c, first, w))
		default:
			row.cells[i] = same
		}
	}
}

// refusal is what has to be said where a case cannot be built, and nil where it can.
func (c *buildCase) refusal(w *way) *regexp.Regexp {
	for _, name := range w.names() {
		if r := c.not[name]; r != nil {
			if w.refuses != nil {
				return w.refuses
			}
			return r
		}
	}
	return nil
}

// isOther tells whether a way is known to make another image of a case.
func (c *buildCase) isOther(w *way) bool {
	return slices.ContainsFunc(w.names(), func(name string) bool { return c.differs[name] })
}

// fails tells why an outcome is not the failure that is wanted, if so.
func fails(o outcome, want *regexp.Regexp) string {
	switch {
	case o.code == 0:
		return "it is built"
	case o.code != 1:
		return fmt.Sprintf("the exit code is %d\n%s", o.code, o.stderr)
	case !want.MatchString(o.stderr):
		return fmt.Sprintf("%q is not said:\n%s", want, o.stderr)
	}
	return ""
}

// look wants the layers of the first image to be what the case says.
func (s *suite) look(t *testing.T, c *buildCase, w *way) bool {
	got, err := s.listing(c, w, false)
	if err != nil {
		t.Errorf("%s: %v", w.name, err)
		return false
	}
	if !c.wanted {
		return true
	}
	if *update {
		must(t, c.keep(got))
		return true
	}
	if diff := cmp.Diff(strings.Split(c.want, "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: layers (-wanted +found)\n%s", w.name, diff)
		return false
	}
	return true
}

func (s *suite) listing(c *buildCase, w *way, sums bool) (string, error) {
	o := w.run(nil, "save", c.name)
	if o.code != 0 {
		return "", fmt.Errorf("save: %s", o.stderr)
	}
	return listing([]byte(o.stdout), s.base, sums)
}

// difference tells where two images of a case differ.
func (s *suite) difference(c *buildCase, a, b *way) string {
	one, err := s.listing(c, a, true)
	if err != nil {
		return err.Error()
	}
	other, err := s.listing(c, b, true)
	if err != nil {
		return err.Error()
	}
	if diff := cmp.Diff(strings.Split(one, "\n"), strings.Split(other, "\n")); diff != "" {
		return diff
	}
	return "their layers have the same entries; this is what \"inspect\" tells:\n" +
		cmp.Diff(strings.Split(a.run(nil, "inspect", c.name).stdout, "\n"), strings.Split(b.run(nil, "inspect", c.name).stdout, "\n"))
}
