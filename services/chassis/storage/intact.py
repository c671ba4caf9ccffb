"""Reads shards, indexes and captions of versions out of the object store, and checks each.

An object's digest is in its row (shards, captions) or at the end of its key (indexes).
"""

from __future__ import annotations

import re
from pathlib import Path

from services.chassis.storage.objects import ObjectStore
from vila2.data.errors import Damaged
from vila2.data.index import SUFFIX
from vila2.data.stored.intact import check_bytes, check_file, missing
from vila2.schemas.stored import Stored

_OF_INDEX = re.compile(r"([0-9a-f]{32})" + re.escape(SUFFIX))


def stored_shard(version: str, number: int, key: str, sha256: str) -> Stored:
    """The tar of a shard of `dataset@version`; of one in a source, its index."""
    if key.endswith(SUFFIX):
        return stored_index(version, number, key)
    return Stored(what=f"shard {number} of {version}", sha256=sha256, restore=sha256)


def stored_index(version: str, number: int, key: str) -> Stored:
    """The index of a shard, whose key ends in its digest."""
    digest = _OF_INDEX.search(key)
    assert digest is not None, key
    what = f"the index of shard {number} of {version}"
    return Stored(what=what, sha256=digest[1], restore=digest[1])


def stored_captions(layer: str, number: int, key: str, sha256: str) -> Stored:
    """The captions of one shard in a layer; `layer` is its id."""
    what = f"the captions of shard {number} in layer {layer}"
    return Stored(what=what, sha256=sha256, restore=key)


def intact(objects: ObjectStore, key: str, stored: Stored) -> bytes:
    """An object's bytes; raises `Damaged` if they are missing or changed."""
    try:
        return check_bytes(objects.get(key), stored)
    except KeyError as error:
        raise missing(stored) from error


def intact_local(objects: ObjectStore, key: str, stored: Stored) -> Path:
    """A local path of an object; raises `Damaged` if it is missing or changed.

    A damaged copy in the cache is thrown away, and the object is fetched again.
    """
    try:
        path = objects.local(key)
        try:
            check_file(path, stored)
        except Damaged:
            objects.forget(key)
            path = objects.local(key)
            check_file(path, stored)
    except KeyError as error:
        raise missing(stored) from error
    return path
