#!/bin/sh
# Puts every mounted secret into the environment variable of its file's name, then becomes the
# command: no secret stands in an image, in compose.yaml or in `docker inspect`.
set -eu
for file in "${FLEETCAST_SECRETS:-/run/secrets}"/*; do
    name=${file##*/}
    case $name in
        *[!A-Z0-9_]* | [!A-Z]*) continue ;;
    esac
    [ -f "$file" ] || continue
    if ! value=$(cat "$file"); then
        echo "The secret $file can't be read by user $(id -u): make the file readable (0444) in a folder that is not (0700)." >&2
        exit 78
    fi
    export "$name=$value"
done
exec "$@"
