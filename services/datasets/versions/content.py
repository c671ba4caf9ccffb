"""A shard's tar as it is sent out."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Conflict
from vila2.data.errors import DataError
from vila2.data.index import SUFFIX
from vila2.data.shards import read_shard, write_shard
from vila2.schemas.rest.datasets import Shard


def shard_tar(objects: ObjectStore, shard: Shard, spool: Path) -> BinaryIO:
    """The stored tar, open; for one in a source, a new tar of its admitted samples.

    The new tar is a file in `spool` without a name, so that nothing is left of it. Raises
    `Conflict` if the source's tar cannot be read.
    """
    if not shard.object_key.endswith(SUFFIX):
        return objects.local(shard.object_key).open("rb")
    out = cast("BinaryIO", TemporaryFile(dir=spool))  # noqa: SIM115 (the reply closes it)
    try:
        write_shard(read_shard(objects.local(shard.object_key)), out)
    except DataError as error:
        out.close()
        raise Conflict(error.message, field=error.field, fix=error.fix) from error
    out.seek(0)
    return out
