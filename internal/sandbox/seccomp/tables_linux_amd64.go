package seccomp

import (
	_ "embed"

	"golang.org/x/sys/unix"
)

//go:embed calls_amd64.txt
var callsAMD64 string

//go:embed calls_386.txt
var calls386 string

// x32 calls carry a bit in their number; nobody uses them, and they have let
// filters be passed by before.
var arches = []arch{
	{audit: unix.AUDIT_ARCH_X86_64, calls: callsAMD64, foreign: 0x40000000},
	{audit: unix.AUDIT_ARCH_I386, calls: calls386},
}
