// Package doctor finds out what this machine lets a build do, by doing it: which
// rungs of isolation can run commands, why the others cannot and what would change
// that, and what the store, control groups and emulators are like.
package doctor

import (
	"context"
	"runtime"

	"github.com/ocibuild/ocibuild/cache"
	"github.com/ocibuild/ocibuild/internal/sandbox/binfmt"
	"github.com/ocibuild/ocibuild/internal/sandbox/cgroup"
	"github.com/ocibuild/ocibuild/internal/sandbox/lsm"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// Report is what was found. Empty texts mean that there is nothing to say.
type Report struct {
	Rungs []Rung `json:"isolation"`
	// Default is the rung that RUN is given if nobody names one; empty if there is
	// none, and RUN is not possible.
	Default   string     `json:"default"`
	Store     Store      `json:"store"`
	Limits    []Limit    `json:"limits"`
	Groups    string     `json:"controlGroups"` // v1, v2, both or none
	Modules   []Module   `json:"securityModules"`
	Runtimes  []Runtime  `json:"runtimes"`
	Platforms []Platform `json:"platforms"`
}

// Rung is a way in which commands can be kept apart from this machine.
type Rung struct {
	Name      string `json:"name"`
	Available bool   `json:"available"`
	Reason    string `json:"reason,omitempty"` // why not, or how it is if it is
	Hint      string `json:"hint,omitempty"`   // what would make it available
}

// Store is the local store and what it lies on.
type Store struct {
	Path       string `json:"path"`
	Error      string `json:"error,omitempty"` // why it cannot be used
	Notice     string `json:"notice,omitempty"`
	FileSystem string `json:"fileSystem,omitempty"`
	Free       int64  `json:"freeBytes,omitempty"`
	Locks      string `json:"locks,omitempty"` // the kind by which processes share it
	Flags      string `json:"flags,omitempty"` // of its mount that matter: nodev, noexec, nosuid
}

// Limit tells whether a RUN can be kept from taking more of something.
type Limit struct {
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"` // why not
}

// Module is a security module of the kernel, which may confine RUN in addition.
type Module struct {
	Name    string `json:"name"`
	Profile string `json:"profile,omitempty"` // that RUN is given, or label; empty for none
	Reason  string `json:"reason,omitempty"`  // why none
}

// Runtime is an OCI runtime that RUN can be given to.
type Runtime struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Version string `json:"version,omitempty"`
	Reason  string `json:"reason,omitempty"` // why not to
}

// Platform is an architecture whose programs RUN can execute.
type Platform struct {
	Arch string `json:"architecture"`
	By   string `json:"by"` // the file of an emulator, or who else does it
}

// Examine looks at everything. store is the directory of the store, "" the default
// one; path is where programs are looked for, as PATH has it.
func Examine(ctx context.Context, store, path string) *Report {
	r := &Report{Store: openStore(store)}
	if r.Store.Error == "" {
		for _, p := range worker.Probe(ctx, worker.Options{Store: r.Store.Path}) {
			r.add(p)
		}
		r.Store.look()
	}
	r.Groups, r.Limits, r.Modules = cgroup.Kind(), limits(), modules(r.Store.Path)
	r.Runtimes = runtimes(ctx, path)
	if r.Default == worker.IsolationChroot {
		path = "" // steps cannot be given emulators there
	}
	r.Platforms = platforms(path)
	return r
}

// add takes in a rung; the first that runs commands is the default.
func (r *Report) add(p worker.Probed) {
	rung := Rung{Name: p.Isolation, Available: p.Err == nil, Reason: p.Trees, Hint: p.Hint}
	if p.Err != nil {
		rung.Reason = p.Err.Error()
	}
	if p.Isolation == worker.IsolationNone {
		rung.Available, rung.Reason = true, "no commands are run; builds without RUN work"
	}
	if p.Default {
		r.Default = p.Isolation
	}
	r.Rungs = append(r.Rungs, rung)
}

// openStore opens the store as a build does, and makes it if there is none.
func openStore(path string) Store {
	s := Store{Path: path}
	var err error
	if path == "" {
		if s.Path, s.Notice, err = cache.DefaultDir(); err != nil {
			s.Error = err.Error()
			return s
		}
	}
	dir, err := cache.OpenDir(s.Path)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Path = dir.Path()
	if s.Locks, err = dir.LockKind(); err != nil {
		s.Error = err.Error()
	}
	return s
}

// limits tries to limit each of the things that can be.
func limits() []Limit {
	var out []Limit
	for _, try := range []struct {
		name   string
		limits cgroup.Limits
	}{
		{"memory", cgroup.Limits{Memory: 1 << 30}},
		{"processes", cgroup.Limits{Pids: 1000}},
		{"processor time", cgroup.Limits{CPUQuota: 100000}},
		{"processors", cgroup.Limits{CPUs: "0"}},
	} {
		l := Limit{Name: try.name}
		if err := cgroup.Try(try.limits); err != nil {
			l.Reason = err.Error()
		}
		out = append(out, l)
	}
	return out
}

// modules lists what confines steps whose files are in the store.
func modules(store string) []Module {
	var out []Module
	for _, m := range lsm.Modules(store) {
		to := Module{Name: m.Name, Reason: m.Reason}
		if m.Profile != nil {
			to.Profile = m.Profile.Name
		}
		out = append(out, to)
	}
	return out
}

// platforms lists the architectures whose programs can be executed: this
// machine's, those that it runs for everybody, and those with an emulator that a
// step can be given.
func platforms(path string) []Platform {
	all := []Platform{{Arch: runtime.GOARCH, By: "this processor"}}
	known := map[string]bool{runtime.GOARCH: true}
	for _, arch := range registered() {
		if !known[arch] {
			known[arch] = true
			all = append(all, Platform{Arch: arch, By: "binfmt_misc of this machine"})
		}
	}
	for _, e := range binfmt.Find(path) {
		if !known[e.Arch] {
			all = append(all, Platform{Arch: e.Arch, By: e.File})
		}
	}
	return all
}
