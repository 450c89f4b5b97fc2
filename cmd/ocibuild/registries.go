package main

import (
	"strings"

	"github.com/spf13/pflag"

	"github.com/ocibuild/ocibuild/builder"
)

// registryFlags say how to reach registries.
type registryFlags struct {
	mirrors, insecure []string
}

func (f *registryFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.mirrors, "registry-mirror", nil, "`HOST=MIRROR`: ask the mirror first; may be given several times")
	fs.StringArrayVar(&f.insecure, "insecure-registry", nil, "`HOST` may be spoken to over HTTP or unverified TLS")
}

func (f *registryFlags) registries() (*builder.Registries, error) {
	r := &builder.Registries{Mirrors: map[string][]string{}, Insecure: map[string]bool{}, Counter: &builder.Counter{}}
	for _, m := range f.mirrors {
		host, mirror, ok := strings.Cut(m, "=")
		if !ok || host == "" || mirror == "" || strings.Contains(m, "://") {
			return nil, usagef("--registry-mirror %q: not of the form HOST=MIRROR, such as docker.io=mirror.example:5000", m)
		}
		r.Mirrors[host] = append(r.Mirrors[host], mirror)
	}
	for _, host := range f.insecure {
		if host == "" || strings.ContainsAny(host, "/=") {
			return nil, usagef("--insecure-registry %q: not a host, or host:port", host)
		}
		r.Insecure[host] = true
	}
	return r, nil
}
