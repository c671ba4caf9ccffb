"""A caption job's budget: the maximum cost of requests is reserved before they are sent."""

from __future__ import annotations

import threading

from sqlalchemy import case, select, update

from services.caption.captioning.how import Spent
from services.caption.tables import CaptionJobRow
from services.chassis.storage.database import Database
from services.chassis.work.units import Postponed
from vila2.schemas.endpoint_model import Prices

# Before the first answer, a prompt with its image is assumed to have this many tokens.
_PROMPT_TOKENS = 4096


class BudgetSpent(Postponed):
    """The job's budget does not allow another request."""


class JobBudget:
    """One shard's share of its job's budget and cost; safe for concurrent use.

    Each thread captions one chunk at a time. Its reservation is released when its chunk is booked,
    or when the shard is closed.
    """

    def __init__(
        self,
        database: Database,
        job: CaptionJobRow,
        *,
        prices: Prices | None,
        max_new_tokens: int,
    ) -> None:
        self._database, self._job, self._bounded = database, job.id, job.budget is not None
        self._prices, self._max_new_tokens = prices or Prices(), max_new_tokens
        self._prompt_tokens = _PROMPT_TOKENS
        self._reserved: dict[int, float] = {}  # by thread
        self._lock = threading.Lock()

    def afford(self, requests: int) -> None:
        """Reserve the maximum cost of the requests; raises `BudgetSpent`."""
        if not self._bounded:
            return
        with self._lock:
            each = self._prices.of(prompt_tokens=self._prompt_tokens, tokens=self._max_new_tokens)
        most = requests * each
        self._reserve(requests, most)
        with self._lock:
            mine = threading.get_ident()
            self._reserved[mine] = self._reserved.get(mine, 0.0) + most

    def book(self, spent: Spent) -> None:
        """Record a chunk's cost and release its reservation."""
        with self._lock:
            reserved = self._reserved.pop(threading.get_ident(), 0.0)
            if spent.requests and spent.prompt_tokens:
                # Images differ in size, so the next reservation adds a margin of half.
                mean = spent.prompt_tokens / spent.requests
                self._prompt_tokens = max(1, int(1.5 * mean))
        self._settle(spent.cost, reserved)

    def close(self) -> None:
        """Release what is still reserved."""
        with self._lock:
            reserved = sum(self._reserved.values())
            self._reserved.clear()
        self._settle(0.0, reserved)

    def _reserve(self, requests: int, most: float) -> None:
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

    def _settle(self, cost: float, reserved: float) -> None:
        if not (cost or reserved):
            return
        left = CaptionJobRow.reserved - reserved
        with self._database.transaction() as session:
            session.execute(
                update(CaptionJobRow)
                .where(CaptionJobRow.id == self._job)
                .values(cost=CaptionJobRow.cost + cost, reserved=case((left > 0, left), else_=0.0))
            )
