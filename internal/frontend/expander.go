package frontend

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// expander is one walk down a Dockerfile.
type expander struct {
	lex     *shell.Lex
	env     variables
	longest map[string]int // in bytes, of all values that a variable had; names in lower case
	stages  map[string]*scope
	at      *scope
	given   int // bytes of what was given
	total   int // bytes of the instructions so far
}

// scope is what the instructions of a stage carry along.
type scope struct {
	sizes map[string]int // of its variables
	env   int            // the sum of them
	dir   int            // the length of the working directory, at most
	said  int            // bytes of its instructions, which a stage on top of it repeats
}

func newExpander(escape rune, given variables) *expander {
	e := &expander{lex: shell.NewLex(escape), env: maps.Clone(given), longest: map[string]int{}, stages: map[string]*scope{}}
	for name, value := range given {
		e.longest[strings.ToLower(name)] = len(value)
		e.given += len(name) + len(value)
	}
	e.at = &scope{sizes: map[string]int{}, env: e.given}
	return e
}

// instruction tells why one cannot be expanded. What it cannot read, the
// frontend complains about.
func (e *expander) instruction(node *parser.Node) error {
	size := e.bound(node)
	if size > maxExpansion {
		return fmt.Errorf("its variables may grow to more than %d bytes", maxExpansion)
	}
	found := variables{}
	switch strings.ToLower(node.Value) {
	case "from":
		e.from(node)
	case "env", "arg":
		e.assign(node, found)
	case "workdir":
		e.at.enter(node, size)
	case "expose":
		size += e.ports(node)
	}
	for name, value := range found { // the values of one instruction do not see each other
		e.env[name] = value
		e.longest[strings.ToLower(name)] = max(e.longest[strings.ToLower(name)], len(value))
		e.at.env += len(name) + len(value) - e.at.sizes[name]
		e.at.sizes[name] = len(name) + len(value)
	}
	e.at.said += size + entry
	if e.total += size + e.at.env + e.at.dir; e.total > maxTotal {
		return fmt.Errorf("with the variables that they carry along, the instructions up to here grow to more than %d bytes", maxTotal)
	}
	return nil
}

// entry is about how many bytes the history takes for an instruction, besides its text.
const entry = 200

// maxDepth is how deep replacements may stand in each other.
const maxDepth = 20

// The names of variables, and of those in which something is replaced.
var (
	mentioned = regexp.MustCompile(`\$\{?([A-Za-z0-9_]+|.)`)
	replacing = regexp.MustCompile(`\$\{([A-Za-z0-9_]+|.)/`)
)

// bound returns how many bytes the instruction has at most when it is expanded.
func (e *expander) bound(node *parser.Node) int {
	size := e.boundOf(node.Original, 0)
	for _, doc := range node.Heredocs {
		size += e.boundOf(doc.Content, 0)
	}
	return size
}

// boundOf is the same of a text that stands in so many replacements.
func (e *expander) boundOf(text string, depth int) int {
	if depth > maxDepth {
		return maxExpansion + 1
	}
	if !strings.Contains(text, "$") {
		return len(text)
	}
	longest, replaced, seen := 0, 0, 0
	for _, m := range mentioned.FindAllStringSubmatch(text, -1) {
		longest = max(longest, e.longest[strings.ToLower(m[1])])
	}
	for _, m := range replacing.FindAllStringSubmatchIndex(text, -1) {
		if m[0] < seen {
			continue // within the last
		}
		inner := braced(text[m[1]:])
		seen = m[1] + len(inner)
		// Each byte of the value may become what stands in its place.
		length := max(1, e.longest[strings.ToLower(text[m[2]:m[3]])])
		if replaced += length * e.boundOf(inner, depth+1); replaced > maxExpansion {
			break
		}
	}
	return len(text) + strings.Count(text, "$")*longest + replaced
}

// braced returns the text in front of the brace that closes one before it.
func braced(text string) string {
	depth := 1
	for i := range len(text) {
		switch text[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return text[:i]
			}
		}
	}
	return text
}

// from begins a stage with what the one below it has.
func (e *expander) from(node *parser.Node) {
	e.at = &scope{sizes: map[string]int{}, env: e.given}
	parsed, err := parse(node)
	if err != nil {
		return
	}
	stage, ok := parsed.(*instructions.Stage)
	if !ok {
		return
	}
	if below := e.stages[strings.ToLower(stage.BaseName)]; below != nil {
		e.at = &scope{sizes: maps.Clone(below.sizes), env: below.env, dir: below.dir, said: below.said}
		e.total += below.said
	}
	e.stages[strings.ToLower(stage.Name)] = e.at
}

// parse needs a linter: a check comment in front of the instruction configures one.
func parse(node *parser.Node) (any, error) {
	return instructions.ParseInstructionWithLinter(node, linter.New(&linter.Config{SkipAll: true}))
}

// enter follows a WORKDIR of at most size bytes.
func (s *scope) enter(node *parser.Node, size int) {
	if node.Next != nil && strings.HasPrefix(node.Next.Value, "/") {
		s.dir = 0
	}
	s.dir += size
}

func (e *expander) assign(node *parser.Node, found variables) {
	parsed, err := parse(node)
	if err != nil {
		return
	}
	switch c := parsed.(type) {
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			e.expand(found, kv.Key, kv.Value)
		}
	case *instructions.ArgCommand:
		for _, kv := range c.Args {
			if kv.Value != nil {
				e.expand(found, kv.Key, *kv.Value)
			}
		}
	}
}

func (e *expander) expand(found variables, name, text string) {
	if value, _, err := e.lex.ProcessWord(text, e.env); err == nil {
		found[name] = value
	}
}

// ports returns how many bytes the ports of an EXPOSE have, each of its own.
func (e *expander) ports(node *parser.Node) int {
	const each = len("65535/tcp") + 16 // and what holds it
	sum := 0
	for n := node.Next; n != nil; n = n.Next {
		words, err := e.lex.ProcessWords(n.Value, e.env)
		if err != nil {
			continue
		}
		for _, word := range words {
			numbers, _, _ := strings.Cut(word[strings.LastIndex(word, ":")+1:], "/")
			first, last, _ := strings.Cut(numbers, "-")
			from, err1 := strconv.ParseUint(first, 10, 16)
			to, err2 := strconv.ParseUint(last, 10, 16)
			if err1 == nil && err2 == nil && to > from {
				sum += int(to-from) * each
			}
		}
	}
	return sum
}
