#!/bin/bash
# commit.sh TREE TOKEN DEST [COMPRESSION]: what commit.star does, with buildah commands.
set -euo pipefail
tree=$1 token=$2 dest=$3 compression=${4:-}
ctr=$("$BUILDAH" from scratch)
trap '"$BUILDAH" rm "$ctr" >/dev/null' EXIT
root=$("$BUILDAH" mount "$ctr")
cp -a "$tree/." "$root"
printf %s "$token" >"$root/token"
sync -f "$root"

flags=(--quiet)
[ -z "$compression" ] || flags+=(--disable-compression=false --compression-format "$compression" --tls-verify=false)
begin=${EPOCHREALTIME/./}
"$BUILDAH" commit "${flags[@]}" "$ctr" "$dest" >/dev/null
spent=$((${EPOCHREALTIME/./} - begin))

[ -n "$compression" ] || "$BUILDAH" rmi "$dest" >/dev/null
echo "$spent"
