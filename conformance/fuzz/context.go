package fuzz

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/txtar"
)

// context makes the files of the build context.
func (g *gen) context() {
	g.dirs = []string{""}
	for range 2 + g.IntN(9) {
		g.file()
	}
	for range g.IntN(4) {
		g.link()
	}
	if g.chance(2) {
		g.archive()
	}
	for _, f := range g.files {
		if g.chance(6) && f.Name != listing {
			g.set("chmod", pick(g, modes), f.Name)
		}
		if g.chance(20) && f.Name != listing {
			g.set("xattr", f.Name, "user.note", "x")
		}
	}
	for _, d := range g.dirs[1:] {
		empty := !slices.ContainsFunc(g.paths, func(p string) bool { return strings.HasPrefix(p, d+"/") })
		switch {
		case empty:
			g.setup = append([]string{quoted("mkdir", pick(g, dirModes), d)}, g.setup...)
		case g.chance(4):
			g.set("chmod", pick(g, dirModes), d)
		}
	}
}

// set adds a line to the setup.
func (g *gen) set(words ...string) { g.setup = append(g.setup, quoted(words...)) }

func quoted(words ...string) string {
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \"") {
			words[i] = strconv.Quote(w)
		}
	}
	return strings.Join(words, " ")
}

// free finds a name that is not taken, in a directory that may be a new one.
func (g *gen) free() string {
	for {
		dir := pick(g, g.dirs)
		if g.chance(3) && strings.Count(dir, "/") < 2 {
			if d := path.Join(dir, pick(g, names)); !g.taken(d) {
				g.paths, g.dirs = append(g.paths, d), append(g.dirs, d)
				dir = d
			}
		}
		if p := path.Join(dir, pick(g, names)); !g.taken(p) {
			return p
		}
	}
}

func (g *gen) taken(p string) bool {
	return slices.Contains(g.paths, p)
}

// file adds a file or an empty directory.
func (g *gen) file() {
	p := g.free()
	if g.chance(7) {
		g.paths, g.dirs = append(g.paths, p), append(g.dirs, p)
		return
	}
	g.paths = append(g.paths, p)
	if g.chance(12) {
		g.set("fill", p, strconv.Itoa(g.IntN(70000)))
		g.madeDir(path.Dir(p))
		return
	}
	text := ""
	if !g.chance(6) {
		text = pick(g, []string{"one\n", "two\n", "three\n", p + "\n"})
	}
	g.files = append(g.files, txtar.File{Name: p, Data: []byte(text)})
}

// madeDir sees to it that a directory of the setup's files is there.
func (g *gen) madeDir(dir string) {
	if dir == "." {
		return
	}
	g.files = append(g.files, txtar.File{Name: path.Join(dir, "filled"), Data: []byte("filled\n")})
	g.paths = append(g.paths, path.Join(dir, "filled"))
}

// link adds a symbolic link, another name of a file or a pipe.
func (g *gen) link() {
	p := g.free()
	g.madeDir(path.Dir(p))
	defer func() { g.paths = append(g.paths, p) }()
	if len(g.files) > 0 && g.chance(3) {
		g.set("link", pick(g, g.files).Name, p)
		return
	}
	if g.chance(12) {
		g.set("fifo", "0644", p)
		return
	}
	to := pick(g, g.paths)
	switch g.IntN(7) {
	case 0:
		to = "/" + to
	case 1:
		to = path.Base(to)
	case 2:
		to = "../" + to
	case 3:
		to = pick(g, []string{"missing", "/etc/passwd", "../../../../etc", ".", "..", "/", p, "sub/"})
	default:
		to = strings.Repeat("../", strings.Count(p, "/")) + to
	}
	g.set("symlink", to, p)
}

// archive adds a tar.
func (g *gen) archive() {
	var lines []string
	var made []string
	for range 1 + g.IntN(7) {
		name := pick(g, names)
		for g.chance(2) && strings.Count(name, "/") < 3 {
			name = path.Join(pick(g, names), name)
		}
		if len(made) > 0 && g.chance(4) {
			name = path.Join(pick(g, made), pick(g, names))
		}
		if g.chance(8) {
			name = "./" + name
		}
		lines = append(lines, g.entry(name, made))
		made = append(made, name)
	}
	p := pick(g, []string{"t.tar", "t.tar.gz", "t.tgz", "t.zst", "t"})
	if g.taken(p) {
		return
	}
	g.files = append(g.files, txtar.File{Name: listing, Data: []byte(strings.Join(lines, "\n") + "\n")})
	g.set("archive", p, listing)
	g.paths, g.archives = append(g.paths, p), append(g.archives, p)
}

// entry is a line of an archive's listing; it may link to what is made.
func (g *gen) entry(name string, made []string) string {
	owner := pick(g, []string{"0:0", "0:0", "1000:50", "7:8"})
	switch n := g.IntN(10); {
	case n < 3:
		return fmt.Sprintf("dir %s %s %q", pick(g, dirModes), owner, name+"/")
	case n < 4:
		to := pick(g, []string{"a", "../a", "/sgid", "missing", "/a/c", "..", "b"})
		return fmt.Sprintf("symlink 0777 %s %q %q", owner, name, to)
	case n < 5 && len(made) > 0:
		return fmt.Sprintf("link 0644 %s %q %q", owner, name, pick(g, made))
	}
	return fmt.Sprintf("file %s %s %q %q", pick(g, modes), owner, name, pick(g, []string{"", "one\n", "two\n", name}))
}

// ignore makes a .dockerignore, in one of three cases.
func (g *gen) ignore() string {
	if !g.chance(3) {
		return ""
	}
	var lines []string
	for range 1 + g.IntN(3) {
		lines = append(lines, g.ignorePattern())
	}
	return strings.Join(lines, "\n") + "\n"
}

func (g *gen) ignorePattern() string {
	p := pick(g, g.paths)
	switch g.IntN(8) {
	case 0:
		p = pick(g, []string{"*", "**", "*.txt", "**/*.txt", "*/*", "**/b", "a*", "?", "[ab]", "!a", "!**/b.txt", "# note", "a/..", "."})
	case 1:
		p = "!" + p
	case 2:
		p = "/" + p
	case 3:
		p += "/"
	case 4:
		p = path.Join(path.Dir(p), "*")
	case 5:
		p = "**/" + path.Base(p)
	}
	return p
}
