"""What a shard keeps while it is captioned: finished chunks, and its job's budget.

A chunk's rows are an object of their own until the shard is committed, so a worker that is killed
loses one chunk, not a shard. They are found again by the shard's digest and the chunk's first
sample, whichever worker made them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence

from sqlalchemy import case, select, update

from services.caption.captioning.how import Spent
from services.caption.tables import CaptionJobRow
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.work.units import Postponed
from vila2.data.layers import CaptionRow, decode_layer_shard, encode_layer_shard
from vila2.data.sample import Sample
from vila2.schemas.endpoint_model import Prices

# A chunk that took less is not worth an object: it is done again as fast.
_WORTH_KEEPING_SECONDS = 2.0
# Before any answer, a prompt with its image is taken to have this many tokens.
_PROMPT_TOKENS = 4096


class BudgetSpent(Postponed):
    """The job's budget does not allow another request."""


def parts_prefix(layer: str) -> str:
    """Where the finished chunks of a layer's shards are kept."""
    return f"layers/{layer}/parts"


class ShardDesk:
    """One attempt at one shard; closing it gives back what it reserved of the budget."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        *,
        job: CaptionJobRow,
        shard: int,
        digest: str,
        prices: Prices | None,
        max_new_tokens: int,
    ) -> None:
        self._database, self._objects, self._job = database, objects, job.id
        self._prefix = f"{parts_prefix(job.layer)}/{shard:06d}-{digest[:12]}-"
        self._budgeted = job.budget is not None
        self._prices, self._max_new_tokens = prices or Prices(), max_new_tokens
        self._prompt_tokens = _PROMPT_TOKENS
        self._reserved: dict[int, float] = {}  # by thread: each captions one chunk at a time
        self._kept: set[str] = set()
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def recall(self, start: int, chunk: Sequence[Sample]) -> list[CaptionRow] | None:
        """A chunk's rows, if an earlier attempt kept them."""
        key = self._key(start)
        try:
            rows = decode_layer_shard(self._objects.get(key))
        except KeyError:
            return None
        if [(row.key, row.sha256) for row in rows] != [(s.key, s.sha256) for s in chunk]:
            return None
        self._kept.add(key)
        return rows

    def afford(self, requests: int) -> None:
        """Reserve the most that the requests may cost; raises `BudgetSpent`."""
        if not self._budgeted:
            return
        with self._lock:
            each = self._prices.of(prompt_tokens=self._prompt_tokens, tokens=self._max_new_tokens)
        most = requests * each
        held = CaptionJobRow.cost + CaptionJobRow.reserved
        with self._database.transaction() as session:
            done = session.execute(
                update(CaptionJobRow)
                .where(CaptionJobRow.id == self._job, held + most <= CaptionJobRow.budget)
                .values(reserved=CaptionJobRow.reserved + most)
                .returning(CaptionJobRow.id)
            ).first()
            if done is None:
                budget, cost = session.execute(
                    select(CaptionJobRow.budget, held).where(CaptionJobRow.id == self._job)
                ).one()
                raise BudgetSpent(
                    f"{requests} more requests may cost {most:.4g}, and {cost:.4g} of the budget "
                    f"of {budget:.4g} is spent or reserved"
                )
        with self._lock:
            mine = threading.get_ident()
            self._reserved[mine] = self._reserved.get(mine, 0.0) + most

    def keep(self, start: int, rows: Sequence[CaptionRow], spent: Spent) -> None:
        """Keep a finished chunk, and book its cost in place of what was reserved."""
        if spent.requests:
            with self._lock:
                # Images differ in size: what is reserved next allows for half as much again.
                mean = spent.prompt_tokens / spent.requests
                self._prompt_tokens = max(1, int(1.5 * mean)) if mean else self._prompt_tokens
        with self._lock:
            reserved = self._reserved.pop(threading.get_ident(), 0.0)
        self._book(spent.cost, reserved)
        if time.monotonic() - self._began > _WORTH_KEEPING_SECONDS:
            key = self._key(start)
            self._objects.put(key, encode_layer_shard(rows)[0])
            self._kept.add(key)

    def close(self) -> None:
        """Give back what is still reserved."""
        with self._lock:
            reserved = sum(self._reserved.values())
            self._reserved.clear()
        self._book(0.0, reserved)

    def clear(self) -> None:
        """Remove the kept chunks, once the shard is committed."""
        for key in self._kept:
            with contextlib.suppress(KeyError):
                self._objects.delete(key)

    def _book(self, cost: float, reserved: float) -> None:
        if not (cost or reserved):
            return
        left = CaptionJobRow.reserved - reserved
        with self._database.transaction() as session:
            session.execute(
                update(CaptionJobRow)
                .where(CaptionJobRow.id == self._job)
                .values(cost=CaptionJobRow.cost + cost, reserved=case((left > 0, left), else_=0.0))
            )

    def _key(self, start: int) -> str:
        return f"{self._prefix}{start:06d}.parquet"
