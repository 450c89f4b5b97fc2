#!/bin/sh
# mmdebstrap runs this on the finished tree: what says how this machine reached its mirror leaves the tree, and what an
# image of Debian has to say comes in.
set -eu
root=$1

rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/apt/preferences.d/usrmerge \
	"$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/*
cat >"$root"/etc/apt/sources.list.d/debian.sources <<'SOURCES'
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
cat >"$root"/etc/apt/apt.conf.d/slim <<'SETTINGS'
APT::Install-Recommends "false";
Acquire::Languages "none";
SETTINGS

# Packages installed later stay without their documentation, too.
mv "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/slim

: >"$root"/etc/hostname
: >"$root"/etc/resolv.conf
chmod 644 "$root"/etc/hostname "$root"/etc/resolv.conf
rm -rf "$root"/var/cache/apt/* "$root"/var/cache/debconf/*-old "$root"/var/lib/apt/lists/* \
	"$root"/var/log/apt "$root"/var/log/*.log "$root"/tmp/* "$root"/var/tmp/*
