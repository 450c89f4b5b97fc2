#!/usr/bin/env bash
# Every test of the project: lint, packages with the race detector, and the examples end to end.
#
#   test.sh OCIBUILD
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ocibuild=$(realpath "${1:?usage: test.sh OCIBUILD}")
cd "$here/.."

if ((EUID == 0)); then
	# gcc: the race detector is the one thing that needs cgo. The others are second readers, a registry and peers.
	"$here/need.sh" busybox-static ca-certificates crun curl docker-registry gcc git libc6-dev mmdebstrap runc skopeo \
		uidmap umoci
else
	echo "not root: tests that need root or packages that are missing are skipped, and say so" >&2
fi

CGO_ENABLED=1 go test -race ./...

if ((EUID != 0)); then
	echo "not root: the examples are not built" >&2
	exit
fi
# A store of its own: nothing of the user's is touched. The bases' tars are kept for the next time.
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
export OCIBUILD_STORE=$store OCIBUILD=$ocibuild
examples/bases/make.sh
OCIBUILD_EXAMPLES=1 go test -count=1 -v ./examples/...
