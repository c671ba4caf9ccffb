"""The content of versions and layers, checked against its digests whenever it is read.

`version` is `dataset@version`, for messages. All raise `Damaged` for bytes that are missing or
changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

from services.chassis.storage.intact import (
    intact,
    intact_local,
    stored_captions,
    stored_index,
    stored_shard,
)
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Conflict
from services.datasets.tables import LayerShardRow, ShardRow
from vila2.data.errors import Damaged, DataError
from vila2.data.index import SUFFIX, decode_index
from vila2.data.shards import read_shard, write_shard
from vila2.schemas.rest.datasets import Shard


def shard_tar(objects: ObjectStore, version: str, shard: Shard, spool: Path) -> BinaryIO:
    """The stored tar, open; for one in a source, a new tar of its admitted samples.

    The new tar is a file in `spool` without a name, so that nothing is left of it. Raises
    `Damaged` if the stored one was changed, `Conflict` if the source's cannot be read.
    """
    stored = stored_shard(version, shard.index, shard.object_key, shard.sha256)
    if not shard.object_key.endswith(SUFFIX):
        return intact_local(objects, shard.object_key, stored).open("rb")
    out = cast("BinaryIO", TemporaryFile(dir=spool))  # noqa: SIM115 (the reply closes it)
    try:
        write_shard(read_shard(intact_local(objects, shard.object_key, stored)), out)
    except Damaged:
        raise
    except DataError as error:
        out.close()
        raise Conflict(error.message, field=error.field, fix=error.fix) from error
    out.seek(0)
    return out


def shard_file(objects: ObjectStore, version: str, shard: ShardRow) -> Path:
    """A local path for `read_shard`."""
    stored = stored_shard(version, shard.number, shard.object_key, shard.sha256)
    return intact_local(objects, shard.object_key, stored)


def index_bytes(objects: ObjectStore, version: str, number: int, key: str) -> bytes:
    """A shard's index: Parquet."""
    return intact(objects, key, stored_index(version, number, key))


def index_rows(
    objects: ObjectStore, version: str, shard: ShardRow, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """The rows of a shard's index, restricted to `columns` if given."""
    return decode_index(index_bytes(objects, version, shard.number, shard.index_key), columns)


def captions_of(objects: ObjectStore, held: LayerShardRow) -> bytes:
    """A layer's captions of one shard: Parquet."""
    stored = stored_captions(held.layer_id, held.number, held.object_key, held.sha256)
    return intact(objects, held.object_key, stored)
