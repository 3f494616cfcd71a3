#!/bin/bash
# What examples/debian-nginx/nginx.star does, as people write it today.
set -euo pipefail
ctr=$("$BUILDAH" from scratch)
trap '"$BUILDAH" rm "$ctr" >/dev/null' EXIT
root=$("$BUILDAH" mount "$ctr")
mmdebstrap --variant=minbase --include=nginx-light bookworm "$root"
printf 'hello\n' >"$root/var/www/html/index.html"
chmod 644 "$root/var/www/html/index.html"
sed -i 's/80 default_server/8080 default_server/' "$root/etc/nginx/sites-available/default"
"$BUILDAH" config --entrypoint '["nginx", "-g", "daemon off;"]' --port 8080/tcp --label release=bookworm "$ctr"
"$BUILDAH" run --isolation chroot "$ctr" nginx -t
"$BUILDAH" umount "$ctr" >/dev/null
"$BUILDAH" commit --quiet "$ctr" localhost/nginx:latest
