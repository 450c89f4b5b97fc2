package worker

import (
	"context"
	"path/filepath"
	"strings"
)

// Probe tries every rung, by starting a worker on it.
func Probe(ctx context.Context, o Options) []Probed {
	var all []Probed
	at := map[string]int{}
	for i, r := range rungs {
		all = append(all, r.probe(ctx, o))
		at[r.name] = i
	}
	for _, r := range ladder() {
		if p := &all[at[r.name]]; p.Err == nil && r.tried("") {
			p.Default = true
			break
		}
	}
	return all
}

func (r *rung) probe(ctx context.Context, o Options) Probed {
	p := Probed{Isolation: r.name}
	if o.Store, p.Err = filepath.Abs(o.Store); p.Err != nil {
		return p
	}
	c, err := r.start(ctx, o)
	if err != nil {
		p.Err, p.Hint = err, strings.TrimPrefix(r.hint(err), "; ")
		return p
	}
	p.Trees, p.Err = c.Trees, c.Close()
	return p
}
