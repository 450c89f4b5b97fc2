#!/usr/bin/env bash
# Makes base images from Debian's packages, for places that cannot reach a registry, and builds them into the local
# store with ocibuild itself.
#
#   make.sh [busybox|busybox-arm64|debian|python|golang|rust|node]…      the first of this machine's processor without a name
#
# The last three hold the toolchains that this machine has on PATH, on the image debian.
#
#   OCIBUILD          the binary to build with (ocibuild); empty: make only the tars
#   OCIBUILD_BASES    where the tars are kept and looked for (${XDG_CACHE_HOME:-$HOME/.cache}/ocibuild-bases)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bases=${OCIBUILD_BASES:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/ocibuild-bases}
ocibuild=${OCIBUILD-ocibuild}

declare -A tag=([busybox]=busybox:latest [busybox-arm64]=busybox:arm64 [debian]=debian:bookworm-slim [python]=python:3.10-slim
	[golang]=golang:1 [rust]=rust:1-slim [node]=node:20-slim)
(($#)) || set -- busybox debian python

# toolchain NAME: builds it from where this machine has it.
toolchain() {
	local contexts flags=() dir
	case $1 in
	golang) contexts=(toolchain="$(cd / && go env GOROOT)") ;;
	rust) contexts=(toolchain="$(cd / && rustc --print sysroot)") ;;
	node) contexts=(toolchain="$(dirname "$(node --print process.execPath)")" modules="$(npm root --global)") ;;
	esac
	dir=$(mktemp -d)
	mapfile -t flags < <("$here/../machine-flags.sh" "$dir" apt)
	"$ocibuild" build "${flags[@]}" "${contexts[@]/#/--build-context=}" -f "$here/toolchains.Dockerfile" --target "$1" -t "${tag[$1]}" "$dir"
	rm -r "$dir"
}

for name; do
	if [[ -z ${tag[$name]:-} ]]; then
		echo "make.sh: unknown base \"$name\": there are ${!tag[*]}" >&2
		exit 2
	fi
	if [[ $name == golang || $name == rust || $name == node ]]; then
		[[ -z $ocibuild ]] || toolchain "$name"
		continue
	fi
	mkdir -p "$bases/$name"
	(
		flock 9 # two makes at once do the work once
		if [[ ! -s $bases/$name/rootfs.tar ]]; then
			echo "making $bases/$name/rootfs.tar" >&2
			"$here/rootfs.sh" "$name" "$bases/$name/rootfs.tar"
		fi
	) 9>"$bases/$name.lock"
	platform=()
	[[ $name != *-arm64 ]] || platform=(--platform linux/arm64)
	[[ -z $ocibuild ]] ||
		"$ocibuild" build "${platform[@]}" -f "$here/${name%-arm64}.Dockerfile" -t "${tag[$name]}" "$bases/$name"
done
