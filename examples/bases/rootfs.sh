#!/usr/bin/env bash
# Makes the root file system of one base image as a tar, from Debian's own packages.
#
#   rootfs.sh busybox|busybox-arm64|debian|python OUT.tar
#
# Needs root. What the machine's apt is configured with (mirror, proxy, validity checks) is used to fetch packages and
# is never left in the tar.
set -euo pipefail

suite=bookworm
here=$(cd "$(dirname "$0")" && pwd)
need=$here/../../scripts/need.sh
. "$here/../apt-machine.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# quietly COMMAND…: what it says is of interest only when it fails.
quietly() {
	"$@" >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		return 1
	}
}

debian() { # debian OUT.tar [PACKAGE,…] [HOOK]
	"$need" mmdebstrap gpg # gpg: mmdebstrap looks at keys with it
	apt_settings >"$work/apt.conf"
	debian_sources "$suite" >"$work/sources.list"
	# usrmerge would bring all of perl only to find /bin merged already.
	# /dev comes empty: a builder without privileges cannot unpack device nodes, and a container gets its own.
	quietly mmdebstrap --mode=root --variant=minbase --include="usr-is-merged${2:+,$2}" --skip=output/dev \
		--aptopt="$work/apt.conf" \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--dpkgopt='path-exclude=/usr/share/man/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--dpkgopt='path-exclude=/usr/share/lintian/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
		--setup-hook='printf "Package: usrmerge\nPin: release *\nPin-Priority: -1\n" >"$1"/etc/apt/preferences.d/usrmerge' \
		--customize-hook="${3:-true}" \
		--customize-hook="$here/clean-hook.sh" \
		"$suite" "$1" "$work/sources.list"
	mkdir -p "$work/empty/dev"
	tar --append --file "$1" --directory "$work/empty" --owner=0 --group=0 --numeric-owner ./dev
}

python() {
	# Without the marker pip installs into Debian's Python: in an image nobody else manages it.
	debian "$1" ca-certificates,python3,python3-pip \
		'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED; ln -s /usr/bin/python3 "$1"/usr/local/bin/python'
}

busybox() { # busybox OUT.tar [BINARY]
	"$need" busybox-static
	local root=$work/rootfs bin
	bin=$(type -P busybox)
	if ldd "$bin" >/dev/null 2>&1; then
		echo "rootfs.sh: $bin is not static: install busybox-static" >&2
		exit 1
	fi
	mkdir -p "$root"/{bin,dev,etc,proc,sys,usr/bin,usr/sbin,var/tmp}
	mkdir -m 700 "$root/root"
	mkdir -m 1777 "$root/tmp"
	chmod 1777 "$root/var/tmp"
	install -m 755 "${2:-$bin}" "$root/bin/busybox"
	local applet
	for applet in $("$bin" --list); do
		[[ $applet == busybox ]] || ln -s busybox "$root/bin/$applet"
	done
	ln -s ../../bin/env "$root/usr/bin/env"
	cat >"$root/etc/passwd" <<-PASSWD
		root:x:0:0:root:/root:/bin/sh
		daemon:x:1:1:daemon:/usr/sbin:/bin/false
		www-data:x:33:33:www-data:/var/www:/bin/false
		nobody:x:65534:65534:nobody:/home:/bin/false
	PASSWD
	cat >"$root/etc/group" <<-GROUP
		root:x:0:
		daemon:x:1:
		www-data:x:33:
		nogroup:x:65534:
	GROUP
	tar --create --file "$1" --directory "$root" --sort=name --owner=0 --group=0 --numeric-owner .
}

busybox-arm64() { # with the applets that the machine's own has: both are of one version
	quietly apt_for arm64 "$work/apt" "$suite" update
	(cd "$work/apt" && quietly apt_for arm64 "$work/apt" "$suite" download busybox-static)
	dpkg-deb --extract "$work"/apt/busybox-static_*.deb "$work/package"
	busybox "$1" "$work/package/bin/busybox"
}

case ${1:-} in
busybox | busybox-arm64 | debian | python) ;;
*) set -- ;;
esac
if (($# != 2)); then
	echo "usage: rootfs.sh busybox|busybox-arm64|debian|python OUT.tar" >&2
	exit 2
fi
if ((EUID != 0)); then
	echo "rootfs.sh: making a root file system needs root" >&2
	exit 2
fi
# A tar that is there is whole: it gets its name last.
"$1" "$work/rootfs.tar"
mv "$work/rootfs.tar" "$2.part"
mv "$2.part" "$2"
