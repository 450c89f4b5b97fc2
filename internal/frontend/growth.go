package frontend

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// maxExpansion is the most bytes that the text of one instruction may have once
// its variables are replaced. Forty lines "ENV a=$a$a" would ask for a terabyte,
// and BuildKit's frontend would try.
const maxExpansion = 4 << 20

// growth follows what variables may grow to, instruction by instruction. It
// knows less of scopes than the frontend and therefore takes a variable for the
// last that any stage has made of it.
type growth struct {
	mu         sync.Mutex
	given      variables // by arguments and images
	dockerfile []byte
}

// variables are the values of variables.
type variables map[string]string

// Get implements shell.EnvGetter.
func (v variables) Get(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

// Keys implements shell.EnvGetter.
func (v variables) Keys() []string { return nil }

// read tells why a Dockerfile cannot be expanded.
func (g *growth) read(dockerfile []byte, args map[string]string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dockerfile, g.given = dockerfile, maps.Clone(variables(args))
	if g.given == nil {
		g.given = variables{}
	}
	_, err := g.given.after(dockerfile)
	return err
}

// image tells why it cannot be expanded on an image, or on what that image's
// triggers make of its variables.
func (g *growth) image(config []byte) error {
	var image struct {
		Config struct{ Env, OnBuild []string }
	}
	if err := json.Unmarshal(config, &image); err != nil {
		return nil // the frontend complains about it
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range image.Config.Env {
		if name, value, _ := strings.Cut(e, "="); len(value) > len(g.given[name]) {
			g.given[name] = value
		}
	}
	after, err := g.given.after([]byte(strings.Join(image.Config.OnBuild, "\n")))
	if err == nil {
		g.given = after
		_, err = g.given.after(g.dockerfile)
	}
	return err
}

// after returns the variables as a Dockerfile leaves them. What cannot be read,
// the frontend complains about.
func (v variables) after(dockerfile []byte) (variables, error) {
	parsed, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return v, nil
	}
	e := &expander{lex: shell.NewLex(parsed.EscapeToken), env: maps.Clone(v)}
	for _, value := range v {
		e.longest = max(e.longest, len(value))
	}
	for _, node := range parsed.AST.Children {
		if err := e.instruction(node); err != nil {
			return v, parser.WithLocation(err, node.Location())
		}
	}
	return e.env, nil
}

// expander is one walk down a Dockerfile.
type expander struct {
	lex     *shell.Lex
	env     variables
	longest int // of a value in env, in bytes
}

func (e *expander) instruction(node *parser.Node) error {
	size, uses := len(node.Original), strings.Count(node.Original, "$")
	for _, doc := range node.Heredocs {
		size, uses = size+len(doc.Content), uses+strings.Count(doc.Content, "$")
	}
	if uses > 0 && size+uses*e.longest > maxExpansion {
		return fmt.Errorf("its variables may grow to more than %d bytes", maxExpansion)
	}
	if !strings.EqualFold(node.Value, "env") && !strings.EqualFold(node.Value, "arg") {
		return nil
	}
	parsed, err := instructions.ParseInstruction(node)
	if err != nil {
		return nil
	}
	found := variables{}
	switch c := parsed.(type) {
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			err = errors.Join(err, e.expand(found, kv.Key, kv.Value))
		}
	case *instructions.ArgCommand:
		for _, kv := range c.Args {
			if kv.Value != nil {
				err = errors.Join(err, e.expand(found, kv.Key, *kv.Value))
			}
		}
	}
	for name, value := range found { // the values of one instruction do not see each other
		e.env[name], e.longest = value, max(e.longest, len(value))
	}
	return nil // what cannot be expanded, the frontend complains about
}

func (e *expander) expand(found variables, name, text string) error {
	value, _, err := e.lex.ProcessWord(text, e.env)
	if err == nil {
		found[name] = value
	}
	return err
}
