#!/bin/bash
# tiny.sh TOKEN N: what tiny.star does, with buildah commands.
set -euo pipefail
spent=0
for ((i = 0; i < $2; i++)); do
  ctr=$("$BUILDAH" from localhost/bench:busybox)
  echo "$1 $i" >"$("$BUILDAH" mount "$ctr")/small"
  begin=${EPOCHREALTIME/./}
  "$BUILDAH" commit --quiet "$ctr" localhost/bench:tiny >/dev/null
  spent=$((spent + ${EPOCHREALTIME/./} - begin))
  "$BUILDAH" rm "$ctr" >/dev/null
  "$BUILDAH" rmi localhost/bench:tiny >/dev/null
done
echo "$spent"
