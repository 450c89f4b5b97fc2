package frontend

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/version"
)

const (
	syntaxArg     = "BUILDKIT_SYNTAX"
	builtinSyntax = "dockerfile.v0" // BuildKit's name for the language that it has built in
)

// checkSyntax looks at the frontend image that the Dockerfile, or a build
// argument in its place, asks for. No image is run: Docker's own are what is
// built in here, and another one would be another language.
func (r *reading) checkSyntax() error {
	if arg := strings.TrimSpace(r.options.Args[syntaxArg]); arg != "" {
		image, _, _ := strings.Cut(arg, " ")
		err := r.checkFrontend(image, 0)
		if err != nil {
			return fmt.Errorf("build argument %s: %w", syntaxArg, err)
		}
		return nil
	}
	image, _, at, ok := parser.DetectSyntax(r.src.Data)
	if !ok {
		return nil
	}
	if err := r.checkFrontend(image, at[0].Start.Line); err != nil {
		return r.at(err, at)
	}
	return nil
}

// checkFrontend refuses the image of another language, and warns of one that
// may be another: because it is newer, or not Docker's own.
func (r *reading) checkFrontend(image string, line int) error {
	if image == builtinSyntax {
		return nil
	}
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return fmt.Errorf("syntax %q: %w", image, err)
	}
	if !isDockerfile(named) {
		return fmt.Errorf("syntax %s: no image of another language is run, only the Dockerfile language is known; "+
			"if it is that, build with --build-arg %s=docker/dockerfile:1", image, syntaxArg)
	}
	if reference.Domain(named) != "docker.io" {
		r.notice(line, "syntax %s is taken for a copy of docker/dockerfile: the language that is built in is used", image)
	}
	tagged, ok := named.(reference.Tagged)
	if major, minor := numbers(version.Version()); ok && newer(tagged.Tag(), major, minor) {
		r.notice(line, "syntax %s is newer than the Dockerfile language that is built in, %d.%d: what it added is not understood",
			image, major, minor)
	}
	return nil
}

// notice is a warning of ours.
func (r *reading) notice(line int, format string, args ...any) {
	if r.options.Warn != nil {
		r.options.Warn(Warning{Line: line, Message: fmt.Sprintf(format, args...)})
	}
}

// isDockerfile tells whether an image is Docker's frontend, of whatever
// channel, or a mirror's copy of it.
func isDockerfile(named reference.Named) bool {
	parts := strings.Split(reference.Path(named), "/")
	if len(parts) < 2 || parts[len(parts)-2] != "docker" {
		return false
	}
	return slices.Contains([]string{"dockerfile", "dockerfile-upstream"}, parts[len(parts)-1])
}

// newer tells whether a tag such as "1", "1.7-labs" or "1.7.3" names a later
// version than this. Names such as "latest" and "labs" do not.
func newer(tag string, major, minor int) bool {
	m, n := numbers(tag)
	return m > major || m == major && n > minor
}

// numbers returns the first two numbers of a version; what is no number is 0.
func numbers(v string) (major, minor int) {
	v, _, _ = strings.Cut(v, "-")
	parts := append(strings.Split(v, "."), "", "")
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return 0, 0
	}
	minor, err = strconv.Atoi(parts[1])
	if err != nil {
		return major, 0
	}
	return major, minor
}
