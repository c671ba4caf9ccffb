"""How much an uploaded file may become: bounded by the size that was uploaded. Pure.

Compressed formats can claim millions of rows, or one large text again and again, in a few
kilobytes. Real data does not: images hardly compress, and every row has some bytes of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from vila2.data.errors import DataError
from vila2.data.sample import RawSample

_MIB = 1 << 20
_DAY = 24 * 3600


class OverAllowance(DataError):
    """The file becomes more than its size allows."""

    code = "over-allowance"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a reader may yield, by bytes that were uploaded.

    At most `free_rows` and one more row for every `row_bytes`; at most `free_bytes` and
    `expansion` times what was uploaded; at most `free_seconds` of CPU time and one second more for
    every `second_bytes`, never more than a day.
    """

    free_rows: int = 20_000
    row_bytes: int = 8
    free_bytes: int = 256 * _MIB
    expansion: int = 20
    free_seconds: int = 600
    second_bytes: int = 100_000

    def of(self, uploaded: int) -> Allowance:
        """The allowance of `uploaded` bytes."""
        return Allowance(
            rows=self.free_rows + uploaded // self.row_bytes,
            bytes=self.free_bytes + uploaded * self.expansion,
            cpu_seconds=min(_DAY, self.free_seconds + uploaded // self.second_bytes),
        )


@dataclass(frozen=True, slots=True)
class Allowance:
    """The most rows, bytes and seconds of CPU time of one reading."""

    rows: int
    bytes: int
    cpu_seconds: int


class Meter:
    """Counts what a reader yields."""

    def __init__(self, allowance: Allowance, file: str) -> None:
        self._allowance, self._file = allowance, file
        self._rows, self._bytes = 0, 0

    def add(self, raw: RawSample) -> None:
        """Count one sample; raises `OverAllowance` once there are too many rows or bytes."""
        self._rows += max(1, len(raw.items))
        self._bytes += size_of(raw)
        if self._rows > self._allowance.rows:
            raise self._over("rows", self._allowance.rows)
        if self._bytes > self._allowance.bytes:
            raise self._over("bytes", self._allowance.bytes)

    def _over(self, what: str, most: int) -> OverAllowance:
        return OverAllowance(
            f"it holds more than {most:,} {what}, which is too many for a file of its size",
            file=self._file,
            fix="Remove empty and repeated rows; if all are meant, write the file without "
            "compression, or have the operator raise VILA2_INGEST_FREE_ROWS or "
            "VILA2_INGEST_EXPANSION",
        )


def size_of(raw: RawSample) -> int:
    """About how many bytes a sample takes: its image and its texts."""
    texts = [raw.key, raw.source, raw.caption or "", raw.problem or "", *raw.source_ids]
    texts += raw.more_captions
    texts += [text for turn in raw.turns for text in (turn.question, turn.answer)]
    items = (str(value) for item in raw.items for value in item.values())
    return len(raw.image or b"") + sum(map(len, texts)) + sum(map(len, items))
