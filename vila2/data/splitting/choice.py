"""Chooses the images of each split, by their bytes.

The choice is a ranking of the images' digests under a seed: it does not depend on names or order,
the same images give the same splits, and copies of one image are always in the same split.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from vila2.data.admission import Admission
from vila2.data.sample import RawSample
from vila2.data.splitting.plan import SplitPlan


@dataclass(frozen=True, slots=True)
class Choice:
    """The split of each chosen image, by the SHA-256 of its bytes; all others are the rest.

    `available` counts the images that could have been chosen.
    """

    split_of: Mapping[bytes, str]
    available: int

    def of(self, raw: RawSample) -> str:
        """The split of a sample; empty for the rest, with all that is no image."""
        if raw.image is None:
            return ""
        return self.split_of.get(hashlib.sha256(raw.image).digest(), "")

    def part(self, raws: Iterable[RawSample], split: str) -> Iterator[RawSample]:
        """The samples of one split, in order; each is in exactly one."""
        return (raw for raw in raws if self.of(raw) == split)


def choose(
    raws: Iterable[RawSample], plan: SplitPlan, admission: Admission, *, workers: int = 1
) -> Choice:
    """Rank the images that `admission` admits with a text; the lowest ranks fill the splits.

    Memory holds the digests of the chosen images only. If there are too few, the last splits are
    not full: `SplitPlan.check` refuses that.
    """
    lowest: list[tuple[int, bytes]] = []  # a heap, the largest rank first
    available = 0
    for sample in admission.through(raws, workers=workers):
        if not sample.caption and not sample.turns:
            continue
        available += 1
        digest = bytes.fromhex(sample.sha256)
        ranked = (-_rank(plan.seed, digest), digest)
        if len(lowest) < plan.total:
            heapq.heappush(lowest, ranked)
        else:
            heapq.heappushpop(lowest, ranked)
    digests = (digest for _, digest in sorted(lowest, reverse=True))
    names = (name for name, size in plan.sizes.items() for _ in range(size))
    return Choice(dict(zip(digests, names, strict=False)), available)


def _rank(seed: int, digest: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}:".encode() + digest, digest_size=16).digest())
