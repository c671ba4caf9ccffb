"""Shards: WebDataset tars, the unit of storage and of work.

Written deterministically (no times, no owners, a fixed member order), so equal samples give equal
bytes and a shard is identified by its sha256. Read member by member without unpacking to disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vila2.data.errors import ShardError
from vila2.data.images.formats import EXTENSIONS
from vila2.data.index import SUFFIX, IndexRow, index_row, read_indexed
from vila2.data.sample import RawSample, Sample, Turn
from vila2.data.tar.reading import MAX_MEMBER_BYTES, MAX_MEMBERS, Member, members_of
from vila2.data.tar.writing import TarOut

__all__ = [
    "IMAGE_EXTENSIONS",
    "ShardSummary",
    "check_key",
    "index_shard",
    "read_raw_shard",
    "read_shard",
    "write_raw_shard",
    "write_shard",
]

IMAGE_EXTENSIONS = EXTENSIONS
_KEY = re.compile(r"[A-Za-z0-9_\-]{1,95}")
_NAME = re.compile(r"[A-Za-z0-9_\-]+\.[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """A written shard: number of samples, size in bytes, sha256, and index rows."""

    samples: int
    bytes: int
    sha256: str
    index: tuple[IndexRow, ...] = field(default=(), repr=False)


def check_key(key: str, extension: str) -> None:
    """Raise `ShardError` unless key and extension are safe in a file name."""
    if not _KEY.fullmatch(key) or extension not in IMAGE_EXTENSIONS:
        raise ShardError(
            f"{key}.{extension} cannot name a sample's image",
            field="key",
            fix=f"Use letters, digits, - and _ (at most 95), and one of {IMAGE_EXTENSIONS}",
        )


def write_shard(samples: Iterable[Sample], out: BinaryIO) -> ShardSummary:
    """Write samples as one tar: for each `key.ext`, `key.txt` if captioned, `key.json`.

    Raises `ShardError` for a key that cannot name a file or occurs twice.
    """
    keys: set[str] = set()
    index: list[IndexRow] = []
    with TarOut(out) as tar:
        for sample in samples:
            check_key(sample.key, sample.extension)
            if sample.key in keys:
                raise ShardError(f"key {sample.key} occurs twice in one shard", field="key")
            keys.add(sample.key)
            offset = tar.add(f"{sample.key}.{sample.extension}", sample.image)
            index.append(index_row(sample, offset))
            if sample.caption:
                tar.add(f"{sample.key}.txt", sample.caption.encode())
            about = {
                "sha256": sample.sha256,
                "width": sample.width,
                "height": sample.height,
                "source": sample.source,
                "turns": [[turn.question, turn.answer] for turn in sample.turns],
                "items": [dict(item) for item in sample.items],
            }
            if sample.source_ids:
                about["source_ids"] = list(sample.source_ids)
            if sample.more_captions:
                about["more_captions"] = list(sample.more_captions)
            text = json.dumps(about, sort_keys=True, ensure_ascii=False)
            tar.add(f"{sample.key}.json", text.encode())
    return ShardSummary(len(keys), tar.size, tar.digest, tuple(index))


def read_shard(source: bytes | BinaryIO | Path) -> Iterator[Sample]:
    """Read a shard that `write_shard` wrote, sample by sample.

    A path that ends in `.index.parquet` is the index of a tar beside it that others wrote. Raises
    `ShardError` if the tar is truncated, hostile, or not a shard; samples before that point have
    been yielded by then.
    """
    if isinstance(source, Path) and source.name.endswith(SUFFIX):
        yield from read_indexed(source)
        return
    for sample, _ in _placed(source):
        yield sample


def index_shard(path: Path) -> list[IndexRow]:
    """Build the index of a shard that `write_shard` wrote, in one pass."""
    return [index_row(sample, offset) for sample, offset in _placed(path)]


def _placed(source: bytes | BinaryIO | Path) -> Iterator[tuple[Sample, int]]:
    """Yield samples, each with the offset of its image in the tar."""
    for key, members in _groups(source):
        extension = next((e for e in IMAGE_EXTENSIONS if e in members), None)
        if extension is None or "json" not in members:
            raise ShardError(f"sample {key} lacks its image or its json", field=key)
        try:
            about = json.loads(members["json"].data)
            sample = Sample(
                key=key,
                image=members[extension].data,
                extension=extension,
                sha256=about["sha256"],
                width=about["width"],
                height=about["height"],
                caption=members["txt"].data.decode() if "txt" in members else "",
                turns=tuple(Turn(question, answer) for question, answer in about["turns"]),
                items=tuple(about["items"]),
                source=about["source"],
                source_ids=tuple(about.get("source_ids", ())),
                more_captions=tuple(about.get("more_captions", ())),
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ShardError(
                f"sample {key} is malformed ({error!r})",
                field=key,
                fix="Fetch the shard again, or submit the version again",
            ) from error
        yield sample, members[extension].offset


def write_raw_shard(raws: Iterable[RawSample], out: BinaryIO) -> int:
    """Write unchecked samples for an upload; returns their number.

    Invalid images and problems are included, so that all validation happens in the dataset
    store. An image too large for a member is sent as a problem.
    """
    count = 0
    with TarOut(out) as tar:
        for count, raw in enumerate(raws, 1):
            stem = f"{count:08d}"
            image, problem = raw.image, raw.problem
            if image is not None and len(image) > MAX_MEMBER_BYTES:
                problem = problem or (
                    f"image-too-large-bytes: the image has {len(image):,} bytes, an upload "
                    f"takes {MAX_MEMBER_BYTES:,}; save it with more compression"
                )
                image = None
            about = {
                "key": raw.key,
                "source": raw.source,
                "caption": raw.caption,
                "turns": [[turn.question, turn.answer] for turn in raw.turns],
                "items": [dict(item) for item in raw.items],
                "problem": problem,
                **({"source_ids": list(raw.source_ids)} if raw.source_ids else {}),
                **({"more_captions": list(raw.more_captions)} if raw.more_captions else {}),
            }
            # Unpaired surrogates (undecodable file names) survive only as ASCII escapes.
            tar.add(f"{stem}.json", json.dumps(about).encode())
            if image is not None:
                tar.add(f"{stem}.bin", image)
    return count


def read_raw_shard(
    source: bytes | BinaryIO | Path, *, limit: int = MAX_MEMBERS
) -> Iterator[RawSample]:
    """Read an upload back; the type of every field is checked, since uploads are untrusted.

    `limit` is the number of members that the tar may have.
    """
    for stem, members in _groups(source, limit):
        try:
            about = json.loads(members["json"].data)
            raw = RawSample(
                key=_text(about["key"]),
                source=_text(about["source"]),
                image=members["bin"].data if "bin" in members else None,
                caption=None if about["caption"] is None else _text(about["caption"]),
                turns=tuple(Turn(_text(q), _text(a)) for q, a in about["turns"]),
                items=tuple({_text(k): v for k, v in item.items()} for item in about["items"]),
                problem=None if about["problem"] is None else _text(about["problem"]),
                source_ids=tuple(_text(each) for each in about.get("source_ids", ())),
                more_captions=tuple(_text(each) for each in about.get("more_captions", ())),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ShardError(
                f"upload member {stem} is malformed ({error!r})",
                field=stem,
                fix="Upload with `vila2 datasets submit` or the Python client",
            ) from error
        yield raw


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _groups(
    source: bytes | BinaryIO | Path, limit: int = MAX_MEMBERS
) -> Iterator[tuple[str, dict[str, Member]]]:
    """Members of neighbouring names with one stem, by extension."""
    key: str | None = None
    members: dict[str, Member] = {}
    for member in members_of(source, limit=limit):
        name = member.name
        if not _NAME.fullmatch(name):
            raise ShardError(f"member name {name!r} is not KEY.EXTENSION", field=name)
        stem, extension = name.rsplit(".", 1)
        if stem != key:
            if key is not None:
                yield key, members
            key, members = stem, {}
        if extension in members:
            raise ShardError(f"member {name!r} occurs twice", field=name)
        members[extension] = member
    if key is not None:
        yield key, members
