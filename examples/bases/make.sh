#!/usr/bin/env bash
# Makes base images from Debian's packages, for places that cannot reach a registry, and builds them into the local
# store with ocibuild itself.
#
#   make.sh [busybox|busybox-arm64|debian|python]…      those of this machine's processor without a name
#
#   OCIBUILD          the binary to build with (ocibuild); empty: make only the tars
#   OCIBUILD_BASES    where the tars are kept and looked for (${XDG_CACHE_HOME:-$HOME/.cache}/ocibuild-bases)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bases=${OCIBUILD_BASES:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/ocibuild-bases}
ocibuild=${OCIBUILD-ocibuild}

declare -A tag=([busybox]=busybox:latest [busybox-arm64]=busybox:arm64 [debian]=debian:bookworm-slim [python]=python:3.10-slim)
(($#)) || set -- busybox debian python

for name; do
	if [[ -z ${tag[$name]:-} ]]; then
		echo "make.sh: unknown base \"$name\": there are ${!tag[*]}" >&2
		exit 2
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
