#!/bin/bash
# What steps.star does, with buildah commands.
set -euo pipefail
ctr=$("$BUILDAH" from localhost/bench:busybox)
for ((i = 0; i < 20; i++)); do
  "$BUILDAH" run --isolation rootless --runtime runc --network host "$ctr" /bin/true
done
"$BUILDAH" config --label steps=20 "$ctr"
"$BUILDAH" commit --quiet "$ctr" localhost/bench:steps
"$BUILDAH" rm "$ctr"
"$BUILDAH" rmi localhost/bench:steps
