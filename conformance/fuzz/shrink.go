package fuzz

import (
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// Shrink takes away files, lines and words for as long as the rest still fails.
func Shrink(a *txtar.Archive, fails func(*txtar.Archive) bool) *txtar.Archive {
	for {
		smaller := false
		for _, b := range smallerThan(a) {
			for {
				next := b(a)
				if next == nil || !fails(next) {
					break
				}
				a, smaller = next, true
			}
		}
		if !smaller {
			return a
		}
	}
}

// smallerThan are the ways of making an archive smaller. Each returns nil when it has nothing to take.
func smallerThan(a *txtar.Archive) []func(*txtar.Archive) *txtar.Archive {
	var out []func(*txtar.Archive) *txtar.Archive
	for i := len(a.Files) - 1; i >= 0; i-- {
		name := a.Files[i].Name
		if name != "Dockerfile" {
			out = append(out, func(a *txtar.Archive) *txtar.Archive { return without(a, name) })
		}
		if name != "Dockerfile" && name != setupFile && name != listing && name != ".dockerignore" {
			continue
		}
		for line := strings.Count(string(a.Files[i].Data), "\n") - 1; line >= 0; line-- {
			out = append(out, func(a *txtar.Archive) *txtar.Archive {
				return edit(a, name, line, func(string) string { return "" })
			})
			if name == "Dockerfile" {
				out = append(out, words(line)...)
			}
		}
	}
	return out
}

// removable are flags, and sources in either form of a line.
var removable = regexp.MustCompile(`--(chown|chmod|exclude|link|parents|unpack)\S* |"[^"]*",`)

func words(line int) []func(*txtar.Archive) *txtar.Archive {
	var out []func(*txtar.Archive) *txtar.Archive
	for n := range 6 {
		out = append(out, func(a *txtar.Archive) *txtar.Archive {
			return edit(a, "Dockerfile", line, func(text string) string {
				at := removable.FindAllStringIndex(text, -1)
				if n >= len(at) {
					return text
				}
				return text[:at[n][0]] + text[at[n][1]:]
			})
		}, func(a *txtar.Archive) *txtar.Archive {
			return edit(a, "Dockerfile", line, func(text string) string {
				f := strings.Fields(text)
				if n+1 >= len(f)-1 || strings.Contains(text, `["`) {
					return text
				}
				return strings.Join(slices.Delete(f, n+1, n+2), " ") + "\n"
			})
		})
	}
	return out
}

func without(a *txtar.Archive, name string) *txtar.Archive {
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &txtar.Archive{Comment: a.Comment, Files: slices.Delete(slices.Clone(a.Files), i, i+1)}
}

// edit changes one line of a file; nil means that it stays as it is.
func edit(a *txtar.Archive, name string, line int, to func(string) string) *txtar.Archive {
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	lines := slices.Collect(strings.Lines(string(a.Files[i].Data)))
	if line >= len(lines) {
		return nil
	}
	text := to(lines[line])
	if text == lines[line] {
		return nil
	}
	lines[line] = text
	files := slices.Clone(a.Files)
	files[i].Data = []byte(strings.Join(lines, ""))
	return &txtar.Archive{Comment: a.Comment, Files: files}
}
