package peer

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"

	"github.com/ocibuild/ocibuild/conformance/suite"
)

// arguments are those of buildctl build, as docker buildx build makes them of its own.
func arguments(w *written) ([]string, error) {
	var args []string
	if isURL(w.args.Context) {
		args = append(args, "--opt", "context="+w.args.Context)
	} else {
		dir := w.path(w.args.Context)
		args = append(args, "--local", "context="+dir, "--local", "dockerfile="+dir)
	}
	args = append(args, "--output", exporter(w))
	args = append(args, options(w.args)...)
	args = append(args, stepOptions(w.args)...)
	for id, value := range w.args.Secrets {
		file := filepath.Join(w.temp, "secret-"+id)
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "--secret", "id="+id+",src="+file)
	}
	for id, socket := range w.agents {
		args = append(args, "--ssh", id+"="+socket)
	}
	for name, value := range w.args.Contexts {
		named, err := namedContext(w, name, value)
		if err != nil {
			return nil, err
		}
		args = append(args, named...)
	}
	return args, nil
}

// exporter describes the output.
func exporter(w *written) string {
	out := "type=oci,tar=false,dest=" + w.image
	for k, v := range w.args.Output {
		out += "," + k + "=" + v
	}
	for _, a := range w.args.Annotations {
		out += ",annotation"
		if a.On != "" {
			out += "-" + a.On
		}
		if a.Platform != "" {
			out += "[" + a.Platform + "]"
		}
		out += "." + a.Key + "=" + a.Value
	}
	return out
}

// namedContext describes a context under the name that docker buildx build makes of it.
func namedContext(w *written, name, value string) ([]string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, err
	}
	name = strings.TrimSuffix(reference.FamiliarString(named), ":latest")
	key, local := "context:"+name+"=", "named-"+name
	if dir, ok := strings.CutPrefix(value, "oci-layout://"); ok {
		dir = filepath.Join(w.files, dir)
		id, err := suite.LayoutDigest(dir)
		if err != nil {
			return nil, err
		}
		return []string{"--opt", key + "oci-layout://" + local + "@" + id, "--oci-layout", local + "=" + dir}, nil
	}
	if isURL(value) {
		return []string{"--opt", key + value}, nil
	}
	return []string{"--opt", key + "local:" + local, "--local", local + "=" + filepath.Join(w.files, value)}, nil
}

// options are the flags of buildctl for the flags of a case.
func options(a suite.Args) []string {
	var out []string
	opt := func(k, v string) {
		if v != "" {
			out = append(out, "--opt", k+"="+v)
		}
	}
	for k, v := range a.BuildArgs {
		out = append(out, "--opt", "build-arg:"+k+"="+v)
	}
	for k, v := range a.Labels {
		out = append(out, "--opt", "label:"+k+"="+v)
	}
	opt("target", a.Target)
	opt("filename", a.File)
	opt("platform", a.Platform)
	opt("force-network-mode", a.Network)
	return out
}
