#!/usr/bin/env bash
# Prints, one a line, the flags of ocibuild that let a RUN reach package indexes the way this machine does: its proxies,
# its CA certificates, and what its package managers are configured with. Nothing of it enters an image or a cache key.
#
#   machine-flags.sh DIR [pip] [npm] [apt]
#
#   mapfile -t flags < <(machine-flags.sh DIR pip)
#   ocibuild build "${flags[@]}" …
#
# Files made for the flags are put in DIR, which has to stay until the build is over. A package manager's settings are
# handed to every RUN of the build, and may hold passwords: name only those that the Dockerfile uses.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
bundle=/etc/ssl/certs/ca-certificates.crt

proxies() {
	local name
	for name in HTTP_PROXY HTTPS_PROXY FTP_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy ftp_proxy no_proxy all_proxy; do
		[[ -z ${!name:-} ]] || echo "--build-arg=$name=${!name}"
	done
}

show() { # show FILE [AT]
	echo "--volume=$(realpath "$1"):${2:-$1}:ro"
}

certificates() {
	local file
	for file in "${SSL_CERT_FILE:-}" "$bundle" /etc/pki/tls/certs/ca-bundle.crt; do
		if [[ -f $file && -s $file ]]; then
			show "$file" "$bundle"
			return
		fi
	done
}

pip_flags() {
	[[ ! -f /etc/pip.conf ]] || show /etc/pip.conf
	# A bundle named there is looked for in the RUN, too.
	local cert
	cert=$(sed -n 's/^[[:space:]]*cert[[:space:]]*=[[:space:]]*//p' /etc/pip.conf 2>/dev/null | head -n 1)
	[[ -z $cert || $cert == "$bundle" || ! -f $cert ]] || show "$cert"
	# pip lets the user's second file have the last word, as it lets the environment.
	local file
	for file in "${PIP_CONFIG_FILE:-}" "${HOME:-}/.config/pip/pip.conf" "${HOME:-}/.pip/pip.conf"; do
		if [[ -f $file ]]; then
			show "$file" /root/.pip/pip.conf
			break
		fi
	done
	local name lines=()
	for name in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_PROXY PIP_DEFAULT_TIMEOUT PIP_RETRIES; do
		[[ -z ${!name:-} ]] || lines+=("$(tr '[:upper:]_' '[:lower:]-' <<<"${name#PIP_}" | sed 's/^default-//') = ${!name}")
	done
	if ((${#lines[@]})); then
		(umask 077 && printf '[global]\n' >"$dir/pip.conf" && printf '%s\n' "${lines[@]}" >>"$dir/pip.conf")
		show "$dir/pip.conf" /root/.config/pip/pip.conf
	fi
}

npm_flags() {
	[[ ! -f /etc/npmrc ]] || show /etc/npmrc /usr/local/etc/npmrc
	[[ ! -f ${HOME:-}/.npmrc ]] || show "$HOME/.npmrc" /root/.npmrc
}

apt_flags() {
	type -P apt-config >/dev/null || return 0
	. "$here/apt-machine.sh"
	apt_settings >"$dir/apt.conf"
	[[ ! -s $dir/apt.conf ]] || show "$dir/apt.conf" /etc/apt/apt.conf.d/99machine
	# A site's mirror takes the place of the image's sources; who uses the public ones needs nothing.
	apt_sources bookworm >"$dir/sources.list"
	if grep -qvE '^deb https?://deb\.debian\.org/' "$dir/sources.list"; then
		sed -E 's/^deb ([^ ]+) ([^ ]+) (.*)/Types: deb\nURIs: \1\nSuites: \2\nComponents: \3\n/' \
			"$dir/sources.list" >"$dir/debian.sources"
		show "$dir/debian.sources" /etc/apt/sources.list.d/debian.sources
	fi
}

dir=${1:-}
if [[ ! -d $dir ]]; then
	echo "usage: machine-flags.sh DIR [pip] [npm] [apt]" >&2
	exit 2
fi
shift
proxies
certificates
for manager; do
	case $manager in
	pip | npm | apt) "${manager}_flags" ;;
	*)
		echo "machine-flags.sh: unknown package manager \"$manager\": there are pip, npm and apt" >&2
		exit 2
		;;
	esac
done
