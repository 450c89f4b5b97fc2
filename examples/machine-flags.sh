#!/usr/bin/env bash
# Prints, one a line, the flags of ocibuild that let a RUN reach package indexes the way this machine does: its proxies,
# its CA certificates, and what its package managers are configured with. Nothing of it enters an image or a cache key.
#
#   machine-flags.sh DIR [pip] [npm] [apt] [go] [cargo] [maven] [gradle] [gem] [composer] [apk]
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

# show_first AT FILE...: the first of the files that is there.
show_first() {
	local at=$1 file
	shift
	for file; do
		if [[ -f $file ]]; then
			show "$file" "$at"
			return
		fi
	done
}

go_flags() {
	type -P go >/dev/null || return 0
	local name value default
	for name in GOPROXY GOSUMDB GOPRIVATE GONOPROXY GONOSUMDB GOINSECURE; do
		case $name in
		GOPROXY) default=https://proxy.golang.org,direct ;;
		GOSUMDB) default=sum.golang.org ;;
		*) default= ;;
		esac
		value=$(cd / && go env "$name")
		[[ $value == "$default" ]] || echo "$name=$value"
	done >"$dir/go.env"
	[[ ! -s $dir/go.env ]] || show "$dir/go.env" /root/.config/go/env
}

cargo_flags() {
	# Cargo looks for .cargo in each folder above the one that it works in.
	local home=${CARGO_HOME:-${HOME:-}/.cargo}
	show_first /.cargo/config.toml "$home/config.toml" "$home/config"
	show_first /root/.cargo/credentials.toml "$home/credentials.toml" "$home/credentials"
}

# trust_store DIR AT: shows the certificates that this machine's Java trusts as a file of DIR, which is at AT in the RUN, and
# prints the system properties that name it. Java knows no bundle, and where an image's JDK has its own differs.
trust_store() {
	local file
	for file in "${JAVA_HOME:-/nowhere}/lib/security/cacerts" /etc/ssl/certs/java/cacerts /etc/pki/java/cacerts; do
		if [[ -s $file ]]; then
			show "$file" "$1/machine-cacerts" >&3
			printf '%s\n' "javax.net.ssl.trustStore=$1/machine-cacerts" javax.net.ssl.trustStorePassword=changeit
			return
		fi
	done
}

maven_flags() {
	# mvn and mvnw read this file before they start Java.
	trust_store /root/.m2 3>&1 >"$dir/java"
	if [[ -s $dir/java || -f ${HOME:-}/.mavenrc ]]; then
		[[ ! -f ${HOME:-}/.mavenrc ]] || cat "$HOME/.mavenrc"
		sed 's/.*/MAVEN_OPTS="${MAVEN_OPTS:-} -D&"/' "$dir/java"
	fi >"$dir/mavenrc"
	[[ ! -s $dir/mavenrc ]] || show "$dir/mavenrc" /root/.mavenrc
	# What the site says for everybody stands in for the user's own settings.
	show_first /root/.m2/settings.xml "${HOME:-}/.m2/settings.xml" "${MAVEN_HOME:-/nowhere}/conf/settings.xml" /etc/maven/settings.xml
	show_first /root/.m2/settings-security.xml "${HOME:-}/.m2/settings-security.xml"
}

gradle_flags() {
	local home=${GRADLE_USER_HOME:-${HOME:-}/.gradle} file
	trust_store /root/.gradle 3>&1 >"$dir/java"
	{
		[[ ! -f $home/gradle.properties ]] || { cat "$home/gradle.properties" && echo; }
		sed 's/^/systemProp./' "$dir/java"
	} >"$dir/gradle.properties"
	show "$dir/gradle.properties" /root/.gradle/gradle.properties
	for file in "$home"/init.gradle "$home"/init.gradle.kts "$home"/init.d/*.gradle "$home"/init.d/*.gradle.kts; do
		[[ ! -f $file ]] || show "$file" "/root/.gradle/${file#"$home"/}"
	done
}

gem_flags() {
	show_first /etc/gemrc /etc/gemrc
	show_first /root/.gemrc "${GEMRC:-/nowhere}" "${HOME:-}/.gemrc"
	show_first /root/.bundle/config "${BUNDLE_USER_CONFIG:-/nowhere}" "${HOME:-}/.bundle/config"
}

composer_flags() {
	local home=${COMPOSER_HOME:-} file at
	if [[ -z $home ]]; then
		home=${HOME:-}/.composer
		[[ -d $home ]] || home=${XDG_CONFIG_HOME:-${HOME:-}/.config}/composer
	fi
	for file in config.json auth.json; do
		for at in /root/.composer /root/.config/composer; do
			show_first "$at/$file" "$home/$file"
		done
	done
}

apk_flags() {
	local file
	for file in /etc/apk/repositories /etc/apk/keys/*; do
		[[ ! -f $file ]] || show "$file"
	done
}

dir=${1:-}
if [[ ! -d $dir ]]; then
	echo "usage: machine-flags.sh DIR [pip] [npm] [apt] [go] [cargo] [maven] [gradle] [gem] [composer] [apk]" >&2
	exit 2
fi
shift
proxies
certificates
for manager; do
	case $manager in
	pip | npm | apt | go | cargo | maven | gradle | gem | composer | apk) "${manager}_flags" ;;
	*)
		echo "machine-flags.sh: unknown package manager \"$manager\": there are pip, npm, apt, go, cargo, maven, gradle, gem, composer and apk" >&2
		exit 2
		;;
	esac
done
