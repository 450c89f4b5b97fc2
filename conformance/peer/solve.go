package peer

import (
	"context"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildctl/build"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	_ "github.com/moby/buildkit/util/grpcutil/encoding/proto" // names need not be UTF-8
)

// solveOptions makes of the flags of buildctl build what it makes of them itself.
func solveOptions(args []string) (client.SolveOpt, error) {
	flags := map[string][]string{}
	for i := 0; i+1 < len(args); i += 2 {
		flags[args[i]] = append(flags[args[i]], args[i+1])
	}
	opt := client.SolveOpt{Frontend: "dockerfile.v0", AllowedEntitlements: flags["--allow"]}
	var err error
	if opt.FrontendAttrs, err = build.ParseOpt(flags["--opt"]); err != nil {
		return opt, err
	}
	if opt.LocalMounts, err = build.ParseLocal(flags["--local"]); err != nil {
		return opt, err
	}
	if opt.OCIStores, err = build.ParseOCILayout(flags["--oci-layout"]); err != nil {
		return opt, err
	}
	if opt.Exports, err = build.ParseOutput(flags["--output"]); err != nil {
		return opt, err
	}
	if list := flags["--secret"]; list != nil {
		secrets, err := build.ParseSecret(list)
		if err != nil {
			return opt, err
		}
		opt.Session = append(opt.Session, secrets)
	}
	if list := flags["--ssh"]; list != nil {
		agents, err := build.ParseSSH(list)
		if err != nil {
			return opt, err
		}
		ssh, err := sshprovider.NewSSHAgentProvider(agents)
		if err != nil {
			return opt, err
		}
		opt.Session = append(opt.Session, ssh)
	}
	return opt, nil
}

// solve builds, as buildctl does.
func (b *BuildKit) solve(ctx context.Context, opt client.SolveOpt) error {
	status := make(chan *client.SolveStatus)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range status { // nobody looks at it
			continue
		}
	}()
	_, err := b.client.Build(ctx, opt, "", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		return c.Solve(ctx, gateway.SolveRequest{Frontend: opt.Frontend, FrontendOpt: opt.FrontendAttrs})
	}, status)
	<-done
	return err
}
