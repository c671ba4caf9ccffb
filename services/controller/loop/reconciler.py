"""The reconciler: looks at every run, plans, and carries each round one step further.

Level-triggered: it acts on observed state, not on events. The process may be killed between
any two statements, and another takes over when its lease runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from services.chassis.crashpoint import crashpoint
from services.chassis.telemetry.metrics import RECONCILE_SECONDS, RUNS_IN_TROUBLE
from services.chassis.work.loop import Loop
from services.controller.loop.fairness import fair_order
from services.controller.loop.steps import Step
from services.controller.rounds.planner import AddRound, FailRun, FinishRun, PauseRun, plan
from services.controller.rounds.state import ENDED
from services.controller.runs.gauges import RunWatch
from services.controller.runs.operations import cancel
from services.controller.runs.run_budgets import budget_exceeded
from services.controller.runs.run_rows import facts_of
from services.controller.runs.runs import Runs
from services.controller.tables import RoundRow, RunRow
from vila2.client import ApiError, Client
from vila2.recipes.recipe import Recipe
from vila2.system import tracing

_log = structlog.get_logger()


class Reconciler:
    """Advances runs while this process is the leader."""

    def __init__(
        self,
        runs: Runs,
        platform: Callable[[str], Client],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._runs, self._platform, self._leads = runs, platform, leads
        self._looks, self._turns = 0, dict[str, int]()
        self._watch = RunWatch()
        self.loop = Loop("reconciler", self.tick, seconds=1.0)

    def tick(self) -> None:
        """Reconcile every run once, teams in turn; an error in one does not block others."""
        if not self._leads():
            self._watch.only([])
            return
        self._looks += 1
        running, troubled = self._runs.running(), 0
        with RECONCILE_SECONDS.time():
            for run in fair_order(running, self._turns):
                if not self._leads():
                    return
                self._turns[run.id] = self._looks
                with structlog.contextvars.bound_contextvars(run=run.id):
                    troubled += not self._look_at(run)
        RUNS_IN_TROUBLE.set(troubled)
        self._watch.only([run.id for run in running])
        self._turns = {run.id: self._turns[run.id] for run in running}

    def _look_at(self, run: RunRow) -> bool:
        """Advance one run; False if it must wait for a failure to clear."""
        try:
            self._reconcile(run)
        except ApiError as error:
            if not error.passing:
                # The other service refused the request: a retry would fail too.
                self._runs.move(run, "failed", str(error), error=str(error))
                return True
            self._runs.trouble(run, str(error)[:500])
            return False
        except Exception as error:
            _log.exception("run cannot be carried on now")
            self._runs.trouble(run, f"{type(error).__name__}: {error}"[:500])
            return False
        self._runs.trouble(run, "")
        return True

    def _reconcile(self, run: RunRow) -> None:
        recipes = {
            row.number: Recipe.model_validate(row.recipe) for row in self._runs.recipes(run.id)
        }
        platform = self._platform(run.team)
        rows = self._runs.rounds(run.id)
        over = budget_exceeded(platform, recipes[run.recipe_number], run, rows)
        if over:
            cancel(self._runs, platform, run, reason=over)
            return
        signs: list[object] = [run.version]
        for row in rows:
            if row.state not in ENDED:
                signs += [row.name, row.state]
                step = Step(self._runs, platform, recipes[row.recipe_number], run, row)
                with _in_trace(run, row):
                    step.take()
                signs += step.signs
        self._watch.saw(run.id, tuple(signs))
        rounds = [facts_of(row) for row in self._runs.rounds(run.id)]
        for action in plan(recipes[run.recipe_number], rounds):
            crashpoint("run.planned")
            if isinstance(action, AddRound):
                self._runs.add_round(
                    run,
                    name=action.name,
                    kind=action.kind,
                    position=action.position,
                    message=action.message,
                )
                self.loop.nudge()
            elif isinstance(action, FinishRun):
                self._runs.move(run, "finished", "every round is done")
            elif isinstance(action, PauseRun):
                self._runs.move(run, "paused", f"stopped as the recipe says. {action.reason}")
            elif isinstance(action, FailRun):
                self._runs.move(run, "failed", action.reason, error=action.reason)


@contextmanager
def _in_trace(run: RunRow, row: RoundRow) -> Iterator[None]:
    """One trace per run, derived from its id; ticks that only observe are not recorded."""
    asked = {
        "captioning": row.layer_job,
        "specialising": row.specialists,
        "training": row.train_job,
        "evaluating": row.evaluate_job,
    }.get(row.state, "")
    parent = tracing.root(run.id, recorded=not asked)
    with (
        structlog.contextvars.bound_contextvars(round=row.name),
        tracing.span(f"round {row.state}", parent=parent) as span,
    ):
        span.set(vila2__run=run.id, vila2__round=row.name)
        yield
