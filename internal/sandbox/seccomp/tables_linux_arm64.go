package seccomp

import (
	_ "embed"

	"golang.org/x/sys/unix"
)

//go:embed calls_arm64.txt
var callsARM64 string

//go:embed calls_arm.txt
var callsARM string

var arches = []arch{
	{audit: unix.AUDIT_ARCH_AARCH64, calls: callsARM64},
	{audit: unix.AUDIT_ARCH_ARM, calls: callsARM},
}
