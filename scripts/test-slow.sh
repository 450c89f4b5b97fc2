#!/usr/bin/env bash
# What takes minutes: builds 2,000 random Dockerfiles and compares them with BuildKit's results, and installs a Debian for
# another processor with RUN, as each of root and an ordinary user, and a package in it with apt-get. Needs the network.
#
#   test-slow.sh OCIBUILD
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ocibuild=$(realpath "${1:?usage: test-slow.sh OCIBUILD}")
cd "$here/.."
tester=ocibuild-tester
"$here/need.sh" qemu-user-static

if ((EUID == 0)); then
	"$here/need.sh" runc
	(cd conformance && CGO_ENABLED=0 go run . -fuzz 2000)
	echo "== random cases: $SECONDS s"
else
	echo "test-slow.sh: not root: BuildKit cannot run, and random cases are not compared" >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # the tester reads it
mkdir "$work/system"
examples/debian-bootstrap/packages.sh arm64 "$work/system"
cp examples/debian-bootstrap/Dockerfile "$work/system"
cp "$ocibuild" "$work/ocibuild"
mkdir "$work/flags"
mapfile -t flags < <(examples/machine-flags.sh "$work/flags" apt)
chmod -R go+rX "$work"

# try [USER]: builds, and runs what was built.
try() {
	local as=() store=$work/store-${1:-self} out
	mkdir "$store"
	if (($#)); then
		chown "$1:" "$store"
		as=(setpriv --reuid "$1" --regid "$1" --init-groups)
	fi
	as+=(env "HOME=$store" "OCIBUILD_STORE=$store/store" "$work/ocibuild")
	(
		cd /
		"${as[@]}" build --platform linux/arm64 -t debian:arm64 "$work/system"
		printf 'FROM debian:arm64\nRUN apt-get update && apt-get install -y --no-install-recommends hello\nCMD ["hello"]\n' |
			"${as[@]}" build "${flags[@]}" --platform linux/arm64 -t hello -
		out=$("${as[@]}" run hello; "${as[@]}" run hello sh -c 'uname -m; dpkg --print-architecture; stat -c %U:%G /etc/shadow')
		if [[ $out != $'Hello, world!\naarch64\narm64\nroot:shadow' ]]; then
			echo "test-slow.sh: ${1:-self}: it prints $out" >&2
			exit 1
		fi
	)
	echo "== ${1:-$(id -un)}: $SECONDS s"
}
try
if ((EUID == 0)) && id "$tester" >/dev/null 2>&1; then
	try "$tester"
else
	echo "test-slow.sh: not tried as $tester, which make test makes as root" >&2
fi
