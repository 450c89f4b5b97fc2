#!/usr/bin/env bash
# Builds examples/simple-fastapi, runs it, shows what it answers, and stops it.
#
#   demo.sh OCIBUILD
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
examples=$here/../examples
ocibuild=$(realpath "${1:?usage: demo.sh OCIBUILD}")
work=$(mktemp -d)
pid=

stop() {
	[[ -z $pid ]] || kill "$pid" 2>/dev/null || true
	[[ -z $pid ]] || wait "$pid" 2>/dev/null || true
	pid=
}
trap 'stop; rm -rf "$work"' EXIT

if ((EUID != 0)); then
	echo "demo.sh: run as root: it installs packages and serves on port 80" >&2
	exit 2
fi
"$here/need.sh" ca-certificates curl

# The base: what the store has, else the registry's, else one made from Debian's packages.
if ! "$ocibuild" inspect python:3.10-slim >/dev/null 2>&1; then
	if ! timeout 120 "$ocibuild" pull python:3.10-slim 2>"$work/pull"; then
		echo "the registry's python:3.10-slim cannot be had ($(tail -n 1 "$work/pull")): making one" >&2
		OCIBUILD=$ocibuild "$examples/bases/make.sh" python
	fi
fi

mapfile -t flags < <("$examples/machine-flags.sh" "$work" pip)
"$ocibuild" build "${flags[@]}" -t okt/simple-fastapi "$examples/simple-fastapi"

# The container uses the host's network.
port=80
extra=()
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
	for port in {8080..8179}; do
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	extra=(--port "$port") # the last --port counts
	echo "port 80 of this machine is in use: serving on $port instead" >&2
fi
"$ocibuild" run --rm okt/simple-fastapi "${extra[@]}" &
pid=$!

for _ in {1..100}; do
	if answer=$(curl -sS --fail --noproxy '*' --max-time 5 "http://127.0.0.1:$port/" 2>"$work/curl"); then
		stop
		echo
		echo "GET http://127.0.0.1:$port/ -> $answer"
		[[ $answer == '{"message":"Hello world!"}' ]]
		exit
	fi
	if ! kill -0 "$pid" 2>/dev/null; then
		echo "demo.sh: the service ended before it answered" >&2
		exit 1
	fi
	sleep 0.2
done
cat "$work/curl" >&2
echo "demo.sh: no answer from port $port" >&2
exit 1
