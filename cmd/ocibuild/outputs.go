package main

import (
	"errors"
	"strconv"

	"golang.org/x/term"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/builder/output"
)

// destination is one -o.
type destination struct {
	kind, dest string
	names      []string // name=
	folder     bool     // tar=false
	push       bool     // push=true
	rewrite    bool     // rewrite-timestamp=true
}

// parseOutput reads "type=TYPE[,key=value…]", or a path alone.
func parseOutput(s string) (*destination, error) {
	list, err := fields("--output", s)
	if err != nil {
		return nil, err
	}
	if len(list) == 1 && list[0].bare {
		d := &destination{kind: "local", dest: s}
		if s == "-" {
			d.kind = "tar"
		}
		return d, d.check(s)
	}
	d := &destination{}
	for _, f := range list {
		if err := d.set(s, f); err != nil {
			return nil, err
		}
	}
	return d, d.check(s)
}

func (d *destination) set(s string, f field) error {
	var err error
	switch f.key {
	case "type":
		d.kind = f.value
	case "dest":
		d.dest = f.value
	case "name":
		d.names = append(d.names, f.value)
	case "tar":
		var tar bool
		tar, err = strconv.ParseBool(f.value)
		d.folder = !tar
	case "push":
		d.push, err = strconv.ParseBool(f.value)
	case "rewrite-timestamp":
		d.rewrite, err = strconv.ParseBool(f.value)
	default:
		return usagef("--output %q: unknown key %q (value %q); there are type, dest, name, tar, push, rewrite-timestamp", s, f.key, f.value)
	}
	if err != nil {
		return usagef("--output %q: %s is %q, not true or false", s, f.key, f.value)
	}
	return nil
}

func (d *destination) check(s string) error {
	switch d.kind {
	case "oci", "docker", "local", "tar":
		return d.checkFile(s)
	case "registry", "image":
		if d.dest != "" || d.folder {
			return usagef("--output %q: dest and tar are for type=oci and type=docker", s)
		}
		d.push = d.push || d.kind == "registry"
		return nil
	case "":
		return usagef("--output %q: no type", s)
	}
	return usagef("--output %q: type %q is not one of oci, docker, local, tar, registry, image", s, d.kind)
}

func (d *destination) checkFile(s string) error {
	switch {
	case d.dest == "" && d.kind == "docker":
		return usagef("--output %q: no dest, and there is no docker daemon that it could be given to", s)
	case d.dest == "":
		return usagef("--output %q: no dest", s)
	case d.kind == "local" && d.dest == "-":
		return usagef("--output %q: a folder cannot be standard output; type=tar can", s)
	case len(d.names) > 0 && (d.kind == "local" || d.kind == "tar"):
		return usagef("--output %q: name is for images, and this is their files alone", s)
	case d.folder && (d.kind != "oci" || d.dest == "-"):
		return usagef("--output %q: tar=false wants type=oci and a folder", s)
	case d.push:
		return usagef("--output %q: push=true wants type=image or type=registry", s)
	}
	return nil
}

// destinations are the places where the image goes.
type destinations struct {
	sinks   []builder.Sink
	keep    bool // in the local store, too
	pushed  []*output.Registry
	written []string // for the last line
	stdout  bool     // one of them is standard output
}

// destinations makes the sinks of the flags and gives them to o, unless the
// local store is wanted.
func (f *buildFlags) destinations(c *cli, o *builder.Options) (*destinations, error) {
	var list []*destination
	for _, s := range f.outputs {
		d, err := parseOutput(s)
		if err != nil {
			return nil, err
		}
		list = append(list, d)
	}
	rewrite, err := rewrites(list)
	if err != nil {
		return nil, err
	}
	if f.push {
		list = append(list, &destination{kind: "registry", push: true})
	}
	out := &destinations{keep: len(list) == 0}
	for _, d := range list {
		if d.kind == "image" {
			out.keep = true
			o.Tags = append(o.Tags, d.names...)
		}
		if err := out.add(c, f, o, d); err != nil {
			return nil, errors.Join(err, out.close())
		}
	}
	if out.stdout && f.progress == "quiet" {
		return nil, errors.Join(usagef("--output dest=-: standard output is for the digest with --quiet"), out.close())
	}
	o.Sinks, o.Keep, o.RewriteTimestamps = out.sinks, out.keep, rewrite
	return out, nil
}

// rewrites tells whether the outputs want the times of files limited: all of
// them or none, since there is one image.
func rewrites(list []*destination) (bool, error) {
	n := 0
	for _, d := range list {
		if d.rewrite {
			n++
		}
	}
	if n > 0 && n < len(list) {
		return false, usagef("--output: rewrite-timestamp=true must stand in all of them, or in none")
	}
	return n > 0, nil
}

func (out *destinations) add(c *cli, f *buildFlags, o *builder.Options, d *destination) error {
	switch {
	case d.push:
		names := d.names
		if len(names) == 0 {
			names = f.tags
		}
		if len(names) == 0 {
			return usagef("there is no name to push to: give one with -t REGISTRY/NAME[:TAG]")
		}
		sink, err := output.NewRegistry(o.Registries, names...)
		if err != nil {
			return usagef("%v", err)
		}
		out.pushed = append(out.pushed, sink)
		out.sinks = append(out.sinks, sink)
		for _, n := range names {
			out.written = append(out.written, "pushed to "+familiar(n))
		}
		return nil
	case d.kind == "image":
		return nil
	case d.kind == "local":
		out.sinks = append(out.sinks, &output.Folder{Dir: d.dest})
	case d.folder:
		out.sinks = append(out.sinks, &output.Layout{Dir: d.dest, Names: d.names})
	case d.dest == "-":
		if out.stdout || term.IsTerminal(int(c.stdout.Fd())) {
			return usagef("--output dest=-: standard output is a terminal, or used twice")
		}
		out.stdout = true
		if d.kind == "tar" {
			out.sinks = append(out.sinks, &output.Tar{Writer: c.stdout})
			break
		}
		out.sinks = append(out.sinks, &output.Archive{Writer: c.stdout, Names: d.names, Docker: d.kind == "docker"})
	case d.kind == "tar":
		out.sinks = append(out.sinks, &output.Tar{Path: d.dest})
	default:
		out.sinks = append(out.sinks, &output.Archive{Path: d.dest, Names: d.names, Docker: d.kind == "docker"})
	}
	out.written = append(out.written, "written to "+d.dest)
	return nil
}

func (out *destinations) close() error {
	var errs []error
	for _, r := range out.pushed {
		errs = append(errs, r.Close())
	}
	return errors.Join(errs...)
}
