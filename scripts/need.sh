#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing.
#
#   need.sh PACKAGE…
set -euo pipefail

missing=()
for package; do
	[[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *" installed" ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)) || ! type -P apt-get >/dev/null; then
	echo "missing: ${missing[*]} (install them, or run as root on a Debian)" >&2
	exit 1
fi
echo "installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
apt-get update >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
