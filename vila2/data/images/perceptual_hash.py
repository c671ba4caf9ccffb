"""Near-duplicates: perceptual hashes of 64 bits and a banded index over them.

Two images are near if their hashes differ in few bits. The hash is split into four bands of 16
bits; if two hashes differ in at most 7 bits, one band differs in at most one, so that looking up
each band as it is and with each single bit flipped finds every such pair (the pigeonhole principle,
as in Manku, Jain and Das Sarma, WWW 2007).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, UnidentifiedImageError

from vila2.data.images.decoding import decode_within
from vila2.data.images.side_data import without_large_side_data

SURE_DISTANCE = 7
_BANDS = 4
_BITS = 16
# Blank pages all look alike: comparing thousands of them pairwise is useless.
MAX_BUCKET = 2_000
_HASHED_PIXELS = 512 * 512


def perceptual_hash(image: bytes) -> int:
    """The DCT hash of an admitted image: 64 bits, the same for its resized and recompressed."""
    opened: Image.Image
    try:
        opened = Image.open(
            io.BytesIO(without_large_side_data(image)), formats=("JPEG", "PNG", "WEBP")
        )
    except UnidentifiedImageError:
        opened = decode_within(image, _HASHED_PIXELS)
    with opened:
        opened.draft("L", (128, 128))
        bits = imagehash.phash(opened.convert("RGB")).hash.flatten()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@dataclass(frozen=True, slots=True)
class Near:
    """Pairs of positions (first of the left side, second of the right) and their distances.

    `uncompared` lists positions of the left side whose bucket was too full to be compared and
    for which no other pair was found.
    """

    pairs: np.ndarray  # (P, 2) int64
    distances: np.ndarray  # (P,) uint8
    uncompared: np.ndarray  # (U,) int64


def near_pairs(
    left: np.ndarray, right: np.ndarray | None = None, *, max_distance: int = SURE_DISTANCE
) -> Near:
    """Pairs within `max_distance` bits between two sets of hashes, or within one (i < j).

    `left` and `right` are uint64 arrays. All pairs up to 7 bits are found; of those between 8 and
    `max_distance` only some are.
    """
    within = right is None
    other = left if right is None else right
    found: list[np.ndarray] = []
    crowded: list[np.ndarray] = []
    for band in range(_BANDS):
        shift = np.uint64(band * _BITS)
        mask = np.uint64((1 << _BITS) - 1)
        bands = (left >> shift) & mask
        others = (other >> shift) & mask
        order = np.argsort(others, kind="stable")
        ordered = others[order]
        for flip in (0, *(1 << bit for bit in range(_BITS))):
            wanted = bands ^ np.uint64(flip)
            start = np.searchsorted(ordered, wanted, "left")
            size = np.searchsorted(ordered, wanted, "right") - start
            full = size > MAX_BUCKET
            if full.any():
                crowded.append(np.flatnonzero(full))
                size = np.where(full, 0, size)
            found += list(_close(left, other, order, start, size, max_distance, within=within))
    pairs = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)
    distances = np.bitwise_count(left[pairs[:, 0]] ^ other[pairs[:, 1]])
    paired = np.unique(pairs) if within else np.unique(pairs[:, 0])
    left_out = np.unique(np.concatenate(crowded)) if crowded else np.empty(0, np.int64)
    return Near(pairs, distances, np.setdiff1d(left_out, paired))


def _close(
    left: np.ndarray,
    other: np.ndarray,
    order: np.ndarray,
    start: np.ndarray,
    size: np.ndarray,
    max_distance: int,
    *,
    within: bool,
) -> Iterator[np.ndarray]:
    """Candidates of one band's lookup within `max_distance`, in chunks of a few million."""
    ends = np.cumsum(size)
    first = 0
    while first < len(left):
        # As many rows as make at most four million candidates, and at least one.
        done = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + 4_000_000, "right")))
        sizes = size[first:last]
        rows = np.repeat(np.arange(first, last), sizes)
        within_row = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        columns = order[np.repeat(start[first:last], sizes) + within_row]
        keep = np.bitwise_count(left[rows] ^ other[columns]) <= max_distance
        if within:
            keep &= rows < columns
        if keep.any():
            yield np.stack([rows[keep], columns[keep]], axis=1)
        first = last


def clusters(pairs: np.ndarray) -> list[list[int]]:
    """Connected components of the pairs, each sorted, ordered by first position."""
    parent: dict[int, int] = {}

    def root(item: int) -> int:
        while parent.setdefault(item, item) != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, two in pairs.tolist():
        low, high = sorted((root(one), root(two)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for item in sorted(parent):
        groups.setdefault(root(item), []).append(item)
    return list(groups.values())
