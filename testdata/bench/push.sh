#!/bin/bash
# push.sh DEST: what push.star does, with a buildah command.
set -euo pipefail
begin=${EPOCHREALTIME/./}
"$BUILDAH" push --quiet --tls-verify=false localhost/bench:large "$1"
echo $((${EPOCHREALTIME/./} - begin))
