//go:build linux

package threats

import (
	"context"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/ocibuild/ocibuild/builder"
	"github.com/ocibuild/ocibuild/internal/worker"
)

// isolation and ociRuntime are how all steps are run; empty is the default.
var isolation, ociRuntime = os.Getenv("OCIBUILD_TEST_ISOLATION"), os.Getenv("OCIBUILD_TEST_RUNTIME")

// onRungs are the rows that are tried on each rung, not on the best one alone:
// those against what surrounds a step. Those where an OCI runtime has a say are
// in throughRuntimes.
var onRungs = append([]func(*testing.T){
	TestA03StubsThatWereMoved, TestA26WritesToBindMounts, TestB01BindMountsThroughLinks, TestB06LinksWhereTheSandboxMounts, TestB09VariablesWithoutAValue,
	TestF33TreesThatResist, TestT01NamesThatClimb, TestR04NoConsole, TestR06LinksInDev, TestR09RootsWithoutProcAndSys, TestR12NamesThatLookLikeNumbers,
	TestT14AttributesOfOverlays, TestX05WhatStepsLeaveInCaches, TestX10AgentsAreUsedAndNotChanged, TestX24NetworkFiles,
}, throughRuntimes...)

var throughRuntimes = []func(*testing.T){
	TestA19CapabilitiesAreNotHandedOn, TestA20UsersHaveNoCapabilities, TestA21GroupsOfWhoBuilds,
	TestB10NothingOfTheBuildersEnvironment, TestK05ProcessesThatStayBehind, TestL10SocketsThatReachThePageCache,
	TestR02WorkingDirectoriesInProc, TestR03MaskedPathsThroughDevNull, TestR05FakeProcs, TestR10NothingToTrace,
	TestR11ControlGroupsAreReadOnly, TestR13SideChannels, TestT15Devices, TestX06SecretsOnEveryRung, TestX07KilledWithASecret,
	TestX11DaemonsThatHoldTheOutput, TestX16DescriptorsOfWhoCalls, TestX18StateOfWhoCalls, TestX19PathsThatMayNotBeWritten,
	TestX20TheBuilderCannotBeSeen, TestX22NoNetwork, TestX25NothingWritesWhileALayerIsRead,
}

func TestX40EveryRungAndRuntime(t *testing.T) {
	needsRun(t)
	if isolation != "" || ociRuntime != "" {
		t.Skip("SKIPPED: the rung is given, by OCIBUILD_TEST_ISOLATION or OCIBUILD_TEST_RUNTIME")
	}
	defer func() { isolation, ociRuntime = "", "" }()
	for _, way := range []struct {
		isolation, runtime string
		attacks            []func(*testing.T)
	}{
		{worker.IsolationUserns, "", onRungs}, {worker.IsolationUsernsSingle, "", onRungs}, {worker.IsolationChroot, "", onRungs},
		{"", "runc", throughRuntimes}, {"", "crun", throughRuntimes},
	} {
		t.Run(way.isolation+way.runtime, func(t *testing.T) {
			c, err := worker.Start(context.Background(), worker.Options{Store: t.TempDir(), Isolation: way.isolation, Runtime: way.runtime})
			if err != nil {
				t.Skipf("SKIPPED: not to be had here: %v", err)
			}
			must(t, c.Close())
			isolation, ociRuntime = way.isolation, way.runtime
			for _, attack := range way.attacks {
				_, name, _ := strings.Cut(runtime.FuncForPC(reflect.ValueOf(attack).Pointer()).Name(), ".Test")
				t.Run(name, attack)
			}
		})
	}
}

// onlyWithNamespaces skips what is not promised on rung chroot.
func onlyWithNamespaces(t *testing.T, what string) {
	t.Helper()
	if isolation == worker.IsolationChroot {
		t.Skip("SKIPPED: not promised on rung chroot, which is no boundary: " + what)
	}
}

// on makes a build run its steps on a rung.
func on(rung string) func(*builder.Options) {
	return func(o *builder.Options) { o.Isolation, o.Runtime = rung, "" }
}
