#!/bin/sh
# Copies a store's folder while it is in use:
#   sh deploy/backup.sh STORE TARGET
# Commit logs first, then the files that they name: a store never edits a file, and deletes none of
# the last 366 days, so that every log copied finds its files. The target must not be there yet.
set -eu
[ $# -eq 2 ] || { echo "usage: backup.sh STORE TARGET" >&2; exit 64; }
store=$1 target=$2
[ -d "$store/bars/_delta_log" ] || { echo "$store holds no store: expected $store/bars/_delta_log." >&2; exit 66; }
[ ! -e "$target" ] || { echo "$target is there already: name a folder that is not." >&2; exit 73; }
mkdir -p "$target.partial"

copy() { # the names on standard input, each ended by a zero byte
    # What is replaced while it is read (latest/, a temporary file) is copied as found, or not at all.
    tar -C "$store" --null --no-recursion --ignore-failed-read --warning=no-file-changed \
        --warning=no-file-removed -cf - -T - | tar -C "$target.partial" -xf -
}
(cd "$store" && find . -path '*/_delta_log/*' -print0) | copy
(cd "$store" && find . -path ./.prefect -prune -o -name _delta_log -prune -o -print0) | copy
sync
mv "$target.partial" "$target"
