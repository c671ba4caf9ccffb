"""A shard's tar as it is sent out."""

from __future__ import annotations

import io

from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Conflict
from vila2.data.errors import DataError
from vila2.data.index import SUFFIX
from vila2.data.shards import read_shard, write_shard
from vila2.schemas.rest.datasets import Shard


def shard_tar(objects: ObjectStore, shard: Shard) -> bytes:
    """The stored tar; for one in a source, a new tar of its admitted samples."""
    if not shard.object_key.endswith(SUFFIX):
        return objects.get(shard.object_key)
    out = io.BytesIO()
    try:
        write_shard(read_shard(objects.local(shard.object_key)), out)
    except DataError as error:
        raise Conflict(error.message, field=error.field, fix=error.fix) from error
    return out.getvalue()
