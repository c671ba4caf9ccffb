"""What a person does with a run, through the real services with an instant trainer and engine."""

from __future__ import annotations

import pytest

from tests.plane.plane import Plane, recipe, start
from vila2.api.controller import Run


def states(run: Run) -> dict[str, str]:
    return {round.name: round.state for round in run.rounds}


def test_a_run_goes_to_its_end_by_itself(plane: Plane) -> None:
    run = plane.finish(start(plane, recipe()))
    assert run.state == "finished", run.error
    assert set(states(run).values()) == {"done"}
    print(states(run), {r.name: r.verdict and r.verdict["evidence"] for r in run.rounds})
