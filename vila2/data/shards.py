"""Shards: WebDataset tars, the unit of storage and of work.

Written deterministically (no times, no owners, a fixed member order), so equal samples give equal
bytes and a shard's sha256 is its identity. Read member by member without unpacking to disk; a tar
with anything but plain files of plain names is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vila2.data.errors import ShardError
from vila2.data.sample import RawSample, Sample, Turn

IMAGE_EXTENSIONS = ("jpg", "png", "webp")
MAX_MEMBER_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"^[A-Za-z0-9_\-]+\.[a-z0-9]+$")


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """What was written: number of samples, bytes, and the file's sha256."""

    samples: int
    bytes: int
    sha256: str


class _Hashing(io.RawIOBase):
    """Passes bytes on to `out` and hashes them on the way."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.digest = hashlib.sha256()
        self.count = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        written = bytes(data)
        self.digest.update(written)
        self.count += len(written)
        self._out.write(written)
        return len(written)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def write_shard(samples: Iterable[Sample], out: BinaryIO) -> ShardSummary:
    """Write samples as one tar: for each `key.ext`, `key.txt` where captioned, `key.json`."""
    hashing = _Hashing(out)
    count = 0
    with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            count += 1
            _add(tar, f"{sample.key}.{sample.extension}", sample.image)
            if sample.caption:
                _add(tar, f"{sample.key}.txt", sample.caption.encode())
            about = {
                "sha256": sample.sha256,
                "width": sample.width,
                "height": sample.height,
                "source": sample.source,
                "turns": [[turn.question, turn.answer] for turn in sample.turns],
                "items": [dict(item) for item in sample.items],
            }
            text = json.dumps(about, sort_keys=True, ensure_ascii=False)
            _add(tar, f"{sample.key}.json", text.encode())
    return ShardSummary(count, hashing.count, hashing.digest.hexdigest())


def read_shard(source: bytes | BinaryIO | Path) -> Iterator[Sample]:
    """Read a shard that `write_shard` wrote, sample by sample."""
    for key, members in _groups(source):
        extension = next((e for e in IMAGE_EXTENSIONS if e in members), None)
        if extension is None or "json" not in members:
            raise ShardError(f"sample {key} lacks its picture or its json", field=key)
        about = json.loads(members["json"])
        yield Sample(
            key=key,
            image=members[extension],
            extension=extension,
            sha256=about["sha256"],
            width=about["width"],
            height=about["height"],
            caption=members.get("txt", b"").decode(),
            turns=tuple(Turn(question, answer) for question, answer in about["turns"]),
            items=tuple(about["items"]),
            source=about["source"],
        )


def write_raw_shard(raws: Iterable[RawSample], out: BinaryIO) -> int:
    """Write unchecked samples for an upload; returns their number.

    Anything goes in, bad pictures and problems included, so that all checking happens in one
    place, at the dataset store.
    """
    count = 0
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for count, raw in enumerate(raws, 1):
            stem = f"{count:08d}"
            about = {
                "key": raw.key,
                "source": raw.source,
                "caption": raw.caption,
                "turns": [[turn.question, turn.answer] for turn in raw.turns],
                "items": [dict(item) for item in raw.items],
                "problem": raw.problem,
            }
            # Unpaired surrogates (undecodable file names) survive only as ASCII escapes.
            _add(tar, f"{stem}.json", json.dumps(about).encode())
            if raw.image is not None:
                _add(tar, f"{stem}.bin", raw.image)
    return count


def read_raw_shard(source: bytes | BinaryIO | Path) -> Iterator[RawSample]:
    """Read an upload back; every field is checked for its type, since a stranger sent it."""
    for stem, members in _groups(source):
        try:
            about = json.loads(members["json"])
            yield RawSample(
                key=_text(about["key"]),
                source=_text(about["source"]),
                image=members.get("bin"),
                caption=None if about["caption"] is None else _text(about["caption"]),
                turns=tuple(Turn(_text(q), _text(a)) for q, a in about["turns"]),
                items=tuple({_text(k): v for k, v in item.items()} for item in about["items"]),
                problem=None if about["problem"] is None else _text(about["problem"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ShardError(
                f"upload member {stem} is malformed ({error!r})",
                field=stem,
                fix="upload with `vila2 datasets submit` or the Python client",
            ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


def _groups(source: bytes | BinaryIO | Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Members of neighbouring names with one stem, as {extension: bytes}."""
    key: str | None = None
    members: dict[str, bytes] = {}
    for name, data in plain_members(source):
        if not _NAME.match(name):
            raise ShardError(f"member name {name!r} is not KEY.EXTENSION", field=name)
        stem, extension = name.rsplit(".", 1)
        if stem != key:
            if key is not None:
                yield key, members
            key, members = stem, {}
        if extension in members:
            raise ShardError(f"member {name!r} occurs twice", field=name)
        members[extension] = data
    if key is not None:
        yield key, members


def plain_members(source: bytes | BinaryIO | Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of a tar's plain files; links, devices and paths that climb are refused."""
    if isinstance(source, Path):
        with source.open("rb") as opened:
            yield from plain_members(opened)
        return
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                parts = Path(member.name).parts
                if member.isdir():
                    continue
                if not member.isfile():
                    raise ShardError(
                        f"member {member.name!r} is a link or device",
                        field=member.name,
                        fix="pack plain files only",
                    )
                if member.name.startswith("/") or ".." in parts:
                    raise ShardError(
                        f"member {member.name!r} points outside the tar",
                        field=member.name,
                        fix="pack with relative names",
                    )
                if member.size > MAX_MEMBER_BYTES:
                    raise ShardError(
                        f"member {member.name!r} has {member.size:,} bytes, the limit is "
                        f"{MAX_MEMBER_BYTES:,}",
                        field=member.name,
                    )
                extracted = tar.extractfile(member)
                assert extracted is not None  # isfile() above
                yield member.name.removeprefix("./"), extracted.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ShardError(f"not a readable tar ({error})", fix="pack it again") from error
