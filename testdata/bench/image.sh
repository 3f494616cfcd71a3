#!/bin/bash
# image.sh busybox: makes localhost/bench:busybox, a static busybox that is also /bin/true.
# image.sh large [TREE]: makes localhost/bench:large, a small Debian, or what TREE holds.
set -euo pipefail
ctr=$("$BUILDAH" from scratch)
trap '"$BUILDAH" rm "$ctr" >/dev/null' EXIT
root=$("$BUILDAH" mount "$ctr")
case $1 in
busybox)
  mkdir "$root/bin" "$root/proc"
  cp "$(command -v busybox)" "$root/bin/busybox"
  ln -s busybox "$root/bin/true"
  ;;
large)
  if [ -n "${2:-}" ]; then
    cp -a "$2/." "$root"
  else
    mmdebstrap --quiet --variant=minbase bookworm "$root"
  fi
  ;;
esac
"$BUILDAH" commit --quiet "$ctr" "localhost/bench:$1" >/dev/null
