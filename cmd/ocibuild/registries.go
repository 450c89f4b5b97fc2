package main

import (
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/source/wait"
)

// registryFlags say how to reach registries.
type registryFlags struct {
	mirrors, insecure []string
	retries           int
	delay             time.Duration
	flags             *pflag.FlagSet
}

func (f *registryFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.mirrors, "registry-mirror", nil, "`HOST=MIRROR`: ask the mirror first; may be given several times")
	fs.StringArrayVar(&f.insecure, "insecure-registry", nil, "`HOST` may be spoken to over HTTP or unverified TLS")
	fs.IntVar(&f.retries, "retry", wait.DefaultRetries, "Try a request that the network or a server failed `NUMBER` more times:\nby default about half a minute, at most two with a server that is slow to fail")
	fs.DurationVar(&f.delay, "retry-delay", wait.DefaultDelay, "Wait `DURATION` before the first retry, then twice as long each time, up to 8s")
	f.flags = fs
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
	return r, f.retry(r)
}

// retry takes over what was given.
func (f *registryFlags) retry(r *builder.Registries) error {
	if f.flags == nil {
		return nil
	}
	if f.flags.Changed("retry") {
		if f.retries < 0 {
			return usagef("--retry %d: not a number of tries", f.retries)
		}
		if r.Retries = f.retries; r.Retries == 0 {
			r.Retries = -1
		}
	}
	if f.flags.Changed("retry-delay") {
		if f.delay <= 0 || f.delay > time.Hour {
			return usagef("--retry-delay %s: not between 0s and 1h", f.delay)
		}
		r.RetryDelay = f.delay
	}
	return nil
}
