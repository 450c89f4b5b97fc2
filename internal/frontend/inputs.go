package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
)

// TargetContext begins a named context that is another stage of the same
// Dockerfile, built without the named contexts of this kind.
const TargetContext = "target:"

// inputs are contexts that are graphs themselves.
type inputs map[string]llb.State

// link translates the stages that named contexts stand for, and tells the
// frontend of them as of results that another build hands to it.
func (o *Options) link(ctx context.Context, attributes map[string]string) (inputs, error) {
	in := inputs{}
	for name, value := range o.Contexts {
		stage, ok := strings.CutPrefix(value, TargetContext)
		if !ok {
			continue
		}
		res, err := o.stage(ctx, stage)
		if err != nil {
			return nil, fmt.Errorf("build context %s=%s: %w", name, value, err)
		}
		config, err := json.Marshal(res.Image)
		if err != nil {
			return nil, err
		}
		meta, err := json.Marshal(map[string][]byte{exptypes.ExporterImageConfigKey: config})
		if err != nil {
			return nil, err
		}
		in[name] = res.State
		attributes["context:"+name] = "input:" + name
		attributes["input-metadata:"+name] = string(meta)
	}
	return in, nil
}

// stage translates one stage of the Dockerfile for another one to use.
func (o *Options) stage(ctx context.Context, name string) (*dockerfile2llb.Result, error) {
	of := *o
	of.Target, of.Warn, of.Contexts = name, nil, map[string]string{}
	for k, v := range o.Contexts {
		if !strings.HasPrefix(v, TargetContext) {
			of.Contexts[k] = v
		}
	}
	r, err := read(ctx, &of)
	if err != nil {
		return nil, err
	}
	r.convert.MultiPlatformRequested = o.MultiPlatform
	res, err := ask(ctx, r, dockerfile2llb.Dockerfile2LLB)
	if err != nil {
		return nil, r.located(r.explained(err))
	}
	return res, nil
}
