#!/usr/bin/env bash
# Restore a backup into an empty platform, of which no process runs:
#
#   deploy/restore.sh FOLDER
#
# or objects that were lost into a platform that may run:
#
#   deploy/restore.sh FOLDER NAME
#
# NAME is the SHA-256 of a shard, the id of a layer, the digest of a model, or any other part of an
# object's key. Everything is checked against its digest first.
#
# It reads the settings of the services, as backup.sh does; PG_RESTORE belongs to PG_DUMP.
set -euo pipefail
folder=$(realpath "${1:?usage: restore.sh FOLDER [NAME]}")
steps() { ${PYTHON:-python3} -m services.platform.backup "$folder" "$@"; }
fail() { echo "error: $*" >&2; exit 1; }
keys() { sed -n 's|^[0-9a-f]\{64\}  \./objects/||p'; }
check() { (cd "$folder" && sha256sum --check --quiet); }
sums=$folder/SHA256SUMS
[ -e "$sums" ] || fail "$folder holds no whole backup: SHA256SUMS is missing"

if [ -n "${2:-}" ]; then
    found=$(grep -F -e "$2" "$sums" | grep '  \./objects/') ||
        fail "no object has $2 in its digest or key"
    check <<<"$found"
    keys <<<"$found" | steps put-objects
    keys <<<"$found" | sed 's/^/restored /'
    exit
fi

[ "$(find "$folder" -type f ! -name SHA256SUMS | wc -l)" = "$(wc -l <"$sums")" ] ||
    fail "$folder is damaged: it does not have the files that SHA256SUMS lists"
check <"$sums"
url=""
address=$(steps check address)
eval "$address" # sets url, with PostgreSQL
# Rows last: a restore that is interrupted can be repeated, and nobody takes it for a platform.
if [ -n "$url" ]; then
    [ -e "$folder/rows.dump" ] || fail "the backup is of SQLite: unset VILA2_DATABASE_URL"
    keys <"$sums" | steps put-objects put-files
    ${PG_RESTORE:-pg_restore} --no-owner --exit-on-error --single-transaction --dbname="$url" \
        <"$folder/rows.dump"
else
    [ -d "$folder/rows" ] || fail "the backup is of PostgreSQL: set VILA2_DATABASE_URL"
    keys <"$sums" | steps put-objects put-files put-rows
fi
echo "restored $(wc -l <"$sums") files from $folder"
