package frontend

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"sync"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// maxExpansion is the most bytes that the text of one instruction may have once
// its variables are replaced, and maxTotal the most of all instructions, each with
// the environment and the working directory that it carries along. Forty lines
// "ENV a=$a$a" would ask for a terabyte, and BuildKit's frontend would try.
const (
	maxExpansion = 32 << 20
	maxTotal     = 256 << 20
)

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
	known := len(image.Config.OnBuild) == 0
	for _, e := range image.Config.Env {
		if name, value, _ := strings.Cut(e, "="); len(value) > len(g.given[name]) {
			g.given[name], known = value, false
		}
	}
	if known {
		return nil
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
	e := newExpander(parsed.EscapeToken, v)
	for _, node := range parsed.AST.Children {
		if err := e.instruction(node); err != nil {
			return v, parser.WithLocation(err, node.Location())
		}
	}
	return e.env, nil
}
