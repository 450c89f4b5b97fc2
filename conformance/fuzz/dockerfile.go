package fuzz

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// bases are images and some of what they have.
var bases = []stage{
	{name: "scratch"},
	shapes, shapes, shapes,
	{name: "removed", paths: []string{"/a", "/a/kept", "/opaque", "/wasfile", "/wasdir"}, dirs: []string{"/a", "/opaque", "/wasfile"}},
}

var shapes = stage{
	name: "shapes",
	paths: []string{
		"/", "/a", "/a/b", "/a/c", "/a/c/a", "/sgid", "/sgid/in", "/sgid/f", "/closed", "/closed/f", "/closed/g", "/opaque", "/wasfile", "/wasdir",
		"/rel", "/abs", "/out", "/chain", "/nowhere", "/a/up", "/tofile", "/tmp", "/etc/passwd", "/etc",
	},
	dirs: []string{"/a", "/a/c", "/sgid", "/sgid/in", "/closed", "/opaque", "/wasfile", "/rel", "/abs", "/out", "/chain", "/nowhere", "/a/up", "/tmp", "/etc"},
}

// dockerfile makes one to three stages.
func (g *gen) dockerfile() string {
	var b strings.Builder
	for n := range 1 + g.IntN(3) {
		from := pick(g, bases)
		if len(g.stages) > 0 && g.chance(4) {
			from = pick(g, g.stages)
		}
		s := stage{fmt.Sprintf("s%d", n), append([]string{"/"}, from.paths...), append([]string{"/"}, from.dirs...)}
		fmt.Fprintf(&b, "FROM %s AS %s\n", from.name, s.name)
		var lines []string
		for range 1 + g.IntN(5) {
			line := g.instruction(&s)
			if len(lines) > 0 && g.chance(8) {
				line = pick(g, lines) // once more
			}
			lines = append(lines, line)
			b.WriteString(line + "\n")
		}
		g.stages = append(g.stages, s)
	}
	return b.String()
}

func (s *stage) has(p string, dir bool) {
	s.paths = append(s.paths, p)
	if dir {
		s.dirs = append(s.dirs, p)
	}
}

func (g *gen) instruction(s *stage) string {
	switch n := g.IntN(20); {
	case n < 3:
		d := g.dest(s)
		s.has(path.Join("/", d), true)
		return "WORKDIR " + shellWord(d)
	case n < 4:
		return "USER " + pick(g, []string{"5:6", "0", "1000", "7"})
	case n < 5:
		d := g.dest(s)
		s.has(path.Join("/", d), strings.HasSuffix(d, "/"))
		return fmt.Sprintf("COPY %s<<EOF %s\ntext\nEOF", g.flags(""), shellWord(d))
	case n < 9 && len(g.stages) > 0:
		return g.copyFrom(s)
	case n < 12:
		return g.copy(s, "ADD")
	}
	return g.copy(s, "COPY")
}

// flags are those of COPY and ADD.
func (g *gen) flags(word string) string {
	var b strings.Builder
	add := func(one int, flag string, values ...string) {
		if g.chance(one) {
			b.WriteString(flag + pick(g, values) + " ")
		}
	}
	add(5, "--chown=", "1:2", "7", "1000:1001", ":50", "0:0")
	add(5, "--chmod=", "0755", "700", "644", "2750", "1777", "u+x", "a+rX", "go-rwx", "u=rwX,go=rX", "4711")
	add(5, "--link", "")
	if word == "" { // what is in the Dockerfile itself is one file
		return b.String()
	}
	if word == "COPY" {
		add(5, "--parents", "")
	}
	for g.chance(5) {
		p := g.ignorePattern()
		if !strings.ContainsAny(p, " #$'") {
			b.WriteString("--exclude=" + p + " ")
		}
	}
	return b.String()
}

func (g *gen) copy(s *stage, word string) string {
	var from []string
	for range 1 + g.IntN(5)/3 {
		from = append(from, g.source(g.paths))
	}
	flags := g.flags(word)
	if word == "ADD" && len(g.archives) > 0 && !g.chance(3) {
		from = []string{pick(g, g.archives)}
		if g.chance(6) {
			flags += pick(g, []string{"--unpack=false ", "--unpack=true "})
		}
	}
	return g.line(s, word+" "+flags, from)
}

// copyFrom copies of another stage, or of an image.
func (g *gen) copyFrom(s *stage) string {
	of := pick(g, g.stages)
	if g.chance(5) {
		of = bases[1+g.IntN(len(bases)-1)]
	}
	var from []string
	for range 1 + g.IntN(5)/3 {
		from = append(from, g.source(of.paths))
	}
	for i, f := range from {
		if path.Join("/", f) == "/" { // no layer has the time of a root
			from[i] = "/*"
		}
	}
	return g.line(s, "COPY --from="+of.name+" "+g.flags("COPY"), from)
}

// source is a path that is there, most of the time, or a pattern.
func (g *gen) source(paths []string) string {
	p := pick(g, paths)
	switch g.IntN(22) {
	case 0:
		return "."
	case 1:
		return pick(g, []string{"*", "a*", "*/*", "?", "[a-c]", "**/*.txt", "*.txt", "**/b", "d/*", "missing", "mis*g"})
	case 2:
		return p + "/"
	case 3:
		return path.Join("/", p)
	case 4:
		return "./" + p
	case 5:
		return "../" + p
	case 6:
		return path.Join(path.Dir(p), "*")
	case 7:
		return path.Dir(p) + "/./" + path.Base(p) // what --parents keeps begins behind it
	case 8:
		return p + "/."
	case 9:
		return path.Dir(p)
	}
	return p
}

// dest is where a file goes: often to what is there.
func (g *gen) dest(s *stage) string {
	d := pick(g, []string{"/x", "/x/", "x", "x/", ".", "./", "/", "/x/y", "/x/y/", "/n/e/w", "y/../z", "//x//y", "/x y/", "/é", "/w"})
	switch g.IntN(12) {
	case 0, 1, 2, 3:
		return d
	case 4:
		return pick(g, s.paths)
	case 5, 6, 7, 8:
		d = pick(g, s.dirs)
	}
	switch g.IntN(6) {
	case 0, 1:
		d += "/"
	case 2:
		d = path.Join(d, pick(g, names[:10]))
	case 3:
		d = path.Join(d, pick(g, names[:10])) + "/"
	}
	return d
}

// line puts sources and destination behind an instruction, and remembers what is there then.
func (g *gen) line(s *stage, head string, from []string) string {
	to := g.dest(s)
	if len(from) > 1 && !strings.HasSuffix(to, "/") && !g.chance(8) {
		to += "/"
	}
	for _, f := range from {
		if strings.ContainsAny(f, "*?[") {
			continue
		}
		s.has(path.Join("/", to), strings.HasSuffix(to, "/") || slices.Contains(g.dirs, f))
		if strings.HasSuffix(to, "/") {
			s.has(path.Join("/", to, path.Base(f)), false)
		}
	}
	words := append(from, to)
	if !plain.MatchString(strings.Join(words, "")) || g.chance(8) {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		for i, w := range words {
			words[i] = strings.ReplaceAll(w, "$", `\$`)
		}
		if err := e.Encode(words); err == nil {
			return head + strings.TrimSpace(b.String())
		}
	}
	return head + strings.Join(words, " ")
}

// plain are words that need no quotes.
var plain = regexp.MustCompile(`^[^\s'"$#-]*$`)

// shellWord quotes a word of a line that has no JSON form.
func shellWord(w string) string {
	if plain.MatchString(w) {
		return w
	}
	return `"` + strings.ReplaceAll(w, "$", `\$`) + `"`
}
