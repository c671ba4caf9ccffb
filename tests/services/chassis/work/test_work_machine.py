from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from services.chassis.work.units import CANCELLED, DONE, FAILED, Claim
from tests.support.chassis.work_units import WorkDatabase

UNITS = ("u1", "u2")
OVER = (DONE, FAILED, CANCELLED)


class Workers(RuleBasedStateMachine):
    """Workers that claim, die, come back late and are cancelled, in any order."""

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self, work_db: WorkDatabase) -> None:
        super().__init__()
        self.work_db = work_db
        self.work_db.clear()
        self.work_db.add(*UNITS, max_attempts=3)
        self.fences: dict[str, list[int]] = {unit: [] for unit in UNITS}
        self.completions = dict.fromkeys(UNITS, 0)
        self.over: dict[str, str] = {}

    @rule(target=claims, unit=st.sampled_from(UNITS), lapses=st.booleans())
    def claim(self, unit: str, lapses: bool) -> object:
        """Some workers lose their lease as soon as they have it."""
        units = self.work_db.lapsing if lapses else self.work_db.units
        claim = units.claim(unit, owner="w")
        if claim is None:
            return multiple()
        assert unit not in self.over
        assert all(claim.fence > fence for fence in self.fences[unit])
        self.fences[unit].append(claim.fence)
        return claim

    @rule(claim=claims)
    def heartbeat(self, claim: Claim) -> None:
        """Only the newest claim of a unit may keep it."""
        if self.work_db.units.heartbeat(claim):
            assert claim.fence == max(self.fences[claim.unit_id])

    @rule(claim=claims)
    def complete(self, claim: Claim) -> None:
        """A stale claim may try as often as it likes."""
        if self.work_db.complete(claim, fence=claim.fence):
            assert claim.fence == max(self.fences[claim.unit_id])
            self.completions[claim.unit_id] += 1

    @rule(claim=consumes(claims), final=st.booleans())
    def fail(self, claim: Claim, final: bool) -> None:
        """A worker gives up."""
        self.work_db.units.fail(claim, "no", final=final)

    @rule()
    def pass_backoff(self) -> None:
        """Time goes by."""
        self.work_db.pass_backoff()

    @rule()
    def cancel(self) -> None:
        """Somebody wants no more of it."""
        self.work_db.cancel()

    @invariant()
    def a_unit_is_completed_at_most_once(self) -> None:
        assert max(self.completions.values()) <= 1

    @invariant()
    def what_is_over_stays_as_it_is(self) -> None:
        for unit in UNITS:
            state = self.work_db.row(unit).state
            assert self.over.get(unit, state) == state
            if state in OVER:
                self.over[unit] = state


def test_whatever_workers_do_a_unit_is_completed_once_and_by_its_holder(
    database_url: str,
) -> None:
    """Searched by Hypothesis, in each kind of database."""
    work_db = WorkDatabase(database_url)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Workers(work_db),
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    work_db.database.close()
