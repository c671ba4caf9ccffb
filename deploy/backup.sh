#!/usr/bin/env bash
# Back up a platform, while it runs, into an empty folder:
#
#   deploy/backup.sh FOLDER
#
# Objects are immutable and written before the rows that name them. So the rows of one moment and all
# objects from before and after it are consistent; objects are copied twice, because an ingest or a
# take-down deletes some between the rows and the end of a long copy (docs/decisions/0029).
#
# It reads the settings of the services: VILA2_WORKSPACE, VILA2_DATABASE_URL, VILA2_S3_...; and
#   PYTHON    a Python that has this package                          (default: python3)
#   PG_DUMP   a pg_dump that is as new as the server, for PostgreSQL  (default: pg_dump)
set -euo pipefail
folder=${1:?usage: backup.sh FOLDER}
steps() { ${PYTHON:-python3} -m services.platform.backup "$folder" "$@"; }
mkdir -p "$folder"
chmod 700 "$folder" # it has keys and everyone's data
if [ -n "$(ls -A "$folder")" ]; then
    echo "error: $folder is not empty: use a new folder for each backup" >&2
    exit 1
fi
folder=$(realpath "$folder")

url=""
address=$(steps save-objects address)
eval "$address" # sets url, with PostgreSQL
if [ -n "$url" ]; then
    ${PG_DUMP:-pg_dump} --format=custom "$url" >"$folder/rows.dump"
    steps save-objects save-files
else
    steps save-rows save-objects save-files
fi
cd "$folder"
find . -type f ! -name SHA256SUMS.partial -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS.partial
mv SHA256SUMS.partial SHA256SUMS # a backup is whole once it is there
echo "backed up $(wc -l <SHA256SUMS) files into $folder"
