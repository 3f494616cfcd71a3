#!/bin/bash
# verbs.sh VERB N: does what verbs.star does, with buildah commands, and prints the microseconds of the N times.
set -euo pipefail
ctr=$("$BUILDAH" from localhost/bench:busybox)
trap '"$BUILDAH" rm "$ctr" >/dev/null' EXIT

verb_run() { "$BUILDAH" run --isolation rootless --runtime runc --network host "$ctr" /bin/true; }
verb_run_chroot() { "$BUILDAH" run --isolation chroot "$ctr" /bin/true; }
verb_config() { "$BUILDAH" config --label "n=$1" "$ctr"; }
verb_copy() { "$BUILDAH" copy --quiet "$ctr" "${BASH_SOURCE[0]%/*}/small.txt" /small.txt; }
verb_mount() {
  "$BUILDAH" mount "$ctr"
  "$BUILDAH" umount "$ctr"
}
verb_from() {
  local large
  large=$("$BUILDAH" from localhost/bench:large)
  "$BUILDAH" mount "$large"
  "$BUILDAH" rm "$large"
}

begin=${EPOCHREALTIME/./}
for ((i = 0; i < $2; i++)); do
  "verb_$1" "$i" >/dev/null
done
echo $((${EPOCHREALTIME/./} - begin))
