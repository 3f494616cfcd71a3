#!/bin/bash
# steps-floor.sh ROOT N: the least that N steps can be: new pid, mount, ipc and uts namespaces, /proc, and a static command
# in another root, N times. Prints the microseconds.
set -euo pipefail
begin=${EPOCHREALTIME/./}
for ((i = 0; i < $2; i++)); do
  unshare --pid --mount --ipc --uts --fork --root="$1" --mount-proc /bin/true
done
echo $((${EPOCHREALTIME/./} - begin))
