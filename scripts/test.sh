#!/usr/bin/env bash
# Every test of the project: packages with the race detector, those that run commands once more as an ordinary user, the
# same builds on every way of isolation, and the examples end to end.
#
#   test.sh OCIBUILD
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ocibuild=$(realpath "${1:?usage: test.sh OCIBUILD}")
cd "$here/.."
tester=ocibuild-tester

if ((EUID == 0)); then
	# gcc: the race detector is the one thing that needs cgo. The others are second readers, a registry and peers.
	"$here/need.sh" busybox-static ca-certificates crun curl docker-registry gcc git libc6-dev mmdebstrap openssh-client \
		openssh-server passwd qemu-user-static runc runsc skopeo uidmap umoci
	# useradd gives sub-ids where /etc/login.defs has not been told otherwise.
	id "$tester" >/dev/null 2>&1 || useradd --create-home "$tester"
	grep -q "^$tester:" /etc/subuid || usermod --add-subuids 1000000000-1000065535 "$tester"
	grep -q "^$tester:" /etc/subgid || usermod --add-subgids 1000000000-1000065535 "$tester"
else
	echo "not root: tests that need root or packages that are missing are skipped, and say so" >&2
fi

started=$SECONDS
took() { # took WHAT: how long it was since the last one
	echo "== $1: $((SECONDS - started)) s"
	started=$SECONDS
}

# Those below cmd/ and test/ start the program a thousand times, which the race detector makes slow: without it.
mapfile -t packages < <(go list ./... | grep -Ev '/(cmd|test)/|/internal/ports$')
CGO_ENABLED=1 go test -race -timeout 40m "${packages[@]}"
took "packages"

CGO_ENABLED=0 go test -timeout 20m ./internal/ports ./cmd/... ./test/threats/...
took "the program from outside"

(cd conformance && go test -count=1 ./...)
took "conformance"

if ((EUID != 0)); then
	echo "not root: neither is an ordinary user with sub-ids tested, nor are the examples built" >&2
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # the tester reads it

# as_tester PACKAGE…: what runs commands does so in a user namespace then. The tests see their own folder and no other. Two
# packages at a time, since most of them wait for processes.
as_tester() {
	local package status failed=0 running=0
	for package; do
		as_tester_one "$package" &
		((++running < 2)) || wait -n || failed=1
	done
	while true; do
		status=0
		wait -n || status=$?
		((status != 127)) || return "$failed" # nothing is left to wait for
		((status == 0)) || failed=1
	done
}

as_tester_one() {
	local package=$1 dir home
	home=$(getent passwd "$tester" | cut -d: -f6)
	dir=$work/$package
	mkdir -p "$dir"
	CGO_ENABLED=0 go test -c -o "$dir/package.test" "./$package"
	[[ ! -d $package/testdata ]] || cp -r "$package/testdata" "$dir/testdata"
	chmod -R go+rX "$work/${package%%/*}"
	(cd "$dir" && setpriv --reuid "$tester" --regid "$tester" --init-groups env -i HOME="$home" USER="$tester" \
		PATH="$PATH" TMPDIR=/tmp OCIBUILD_TEST_ISOLATION="${isolation:-}" ./package.test -test.v -test.timeout 20m) >"$dir/log" 2>&1 || {
		cat "$dir/log"
		return 1
	}
	# Here it has to work: what skips for want of a sandbox would skip unseen.
	if grep -aE 'no worker can be started|no commands can be run|scripts that need RUN are skipped' "$dir/log"; then
		echo "$tester cannot run commands: see above" >&2
		return 1
	fi
	# One line for each test would hide what matters: that the sandbox was there, and what was left out.
	echo "-- $package as $tester${isolation:+, $isolation}"
	grep -aE '^ok|SKIP' "$dir/log" || true
	echo "   $(grep -ac '^ *--- PASS' "$dir/log") passed, $(grep -ac '^ *--- SKIP' "$dir/log" || true) skipped"
}
as_tester internal/worker internal/sandbox builder cmd/ocibuild
took "as an ordinary user"
isolation=userns-single as_tester internal/worker # as if there were no sub-ids
took "as an ordinary user without sub-ids"

OCIBUILD_TESTER=$tester "$here/test-isolation.sh" "$ocibuild"
took "isolation"

# A store of its own: nothing of the user's is touched. The bases' tars are kept for the next time.
export OCIBUILD_STORE=$work/store OCIBUILD=$ocibuild OCIBUILD_TESTER=$tester
examples/bases/make.sh busybox busybox-arm64 debian python golang rust node
took "bases"
OCIBUILD_EXAMPLES=1 go test -count=1 -v -timeout 40m ./examples/...
took "examples"
