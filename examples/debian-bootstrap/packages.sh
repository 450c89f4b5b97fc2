#!/usr/bin/env bash
# Fetches the packages of Debian's smallest system for any processor, and unpacks them. Nothing of it is run: that is left
# to the Dockerfile. It needs no root.
#
#   packages.sh ARCH DIR
#
# makes DIR/packages, a folder of .deb files, and DIR/rootfs.tar. ARCH is Debian's name for the processor, such as arm64.
set -euo pipefail
suite=bookworm
. "$(dirname "$0")/../apt-machine.sh"

if (($# != 2)) || [[ ! -d $2 ]]; then
	echo "usage: packages.sh ARCH DIR" >&2
	exit 2
fi
arch=$1
cd "$2"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# quietly COMMAND…: what it says is of interest only when it fails.
quietly() {
	"$@" >"$work/log" 2>&1 || {
		cat "$work/log" >&2
		return 1
	}
}

quietly apt_for "$arch" "$work/apt" "$suite" update
# usrmerge would bring all of perl only to find /bin merged already.
quietly apt_for "$arch" "$work/apt" "$suite" install --yes --no-install-recommends --download-only '?essential' apt usr-is-merged
rm -rf packages
mkdir packages
mv "$work"/apt/archives/*.deb packages

mkdir -p "$work"/rootfs/usr/{bin,lib,sbin}
ln -s usr/bin usr/lib usr/sbin "$work/rootfs"
for package in packages/*.deb; do
	dpkg-deb --fsys-tarfile "$package" | tar --extract --directory "$work/rootfs" --keep-directory-symlink --no-same-owner
done
tar --create --file rootfs.tar --directory "$work/rootfs" --sort=name --owner=0 --group=0 --numeric-owner .
