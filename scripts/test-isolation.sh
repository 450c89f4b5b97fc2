#!/usr/bin/env bash
# The same builds on every way of isolation that the machine allows, and a table of what came of them. Root tries those of
# ordinary users, containers and pods too.
#
#   test-isolation.sh OCIBUILD
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
OCIBUILD=$(realpath "${1:?usage: test-isolation.sh OCIBUILD}")
export OCIBUILD
((EUID != 0)) || "$here/need.sh" bindfs busybox-static crun exfat-fuse exfatprogs runc runsc uidmap
# In the folder itself: so the table is shown when all is well, too.
cd "$here/../test/isolation"
go test -count=1 -timeout 20m
