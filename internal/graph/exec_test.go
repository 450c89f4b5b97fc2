package graph

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

// exec returns the last step of a state that runs a command.
func exec(t *testing.T, opts ...llb.RunOption) *Exec {
	t.Helper()
	g := mustDecode(t, llb.Scratch().Dir("/w").Run(append(opts, llb.Args([]string{"x"}))...).Root())
	return g.Result.Step.Op.(*Exec)
}

func TestExecOnlyKeepsDevicesThatAreRequired(t *testing.T) {
	x := exec(t, llb.AddCDIDevice(llb.CDIDeviceName("a/b=1"), llb.CDIDeviceOptional), llb.AddCDIDevice(llb.CDIDeviceName("a/b=2")))
	if diff := cmp.Diff([]string{"a/b=2"}, x.Devices); diff != "" {
		t.Error(diff)
	}
}

func TestExecReadsWhatLiesBesideIt(t *testing.T) {
	x := exec(t, llb.WithLinuxResources(llb.LinuxResources{
		Memory: 1, MemorySwap: -1, CPUShares: 2, CPUPeriod: 3, CPUQuota: 4, CpusetCpus: "0", CpusetMems: "1",
	}))
	want := Resources{Memory: 1, MemorySwap: -1, CPUShares: 2, CPUPeriod: 3, CPUQuota: 4, CPUs: "0", MemNodes: "1"}
	if diff := cmp.Diff(want, x.Resources); diff != "" {
		t.Error(diff)
	}
}

func TestExecMountsBelowItsDirectory(t *testing.T) {
	x := exec(t, llb.AddMount("m", llb.Scratch(), llb.Tmpfs()))
	if got := x.Mounts[len(x.Mounts)-1].Target; got != "/w/m" {
		t.Errorf("target %s", got)
	}
}

// A mode that nobody knows must not be taken for one that allows more, or less.
func TestExecRefusesUnknownModes(t *testing.T) {
	for want, change := range map[string]func(*pb.ExecOp){
		"security mode": func(e *pb.ExecOp) { e.Security = 9 },
		"network mode":  func(e *pb.ExecOp) { e.Network = 9 },
		"type 9":        func(e *pb.ExecOp) { e.Mounts[0].MountType = 9 },
	} {
		e := &pb.ExecOp{Meta: &pb.Meta{Args: []string{"x"}}, Mounts: []*pb.Mount{{Dest: "/", Input: -1}}}
		change(e)
		if _, err := decodeExec(e, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
