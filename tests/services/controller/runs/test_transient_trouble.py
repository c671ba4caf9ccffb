"""What is of the moment holds a run up; it does not end it."""

from __future__ import annotations

import pytest

from services.controller.runs.views import run_view
from tests.services.controller.runs.test_operations import bare
from tests.support.runs.stepped_platform import SteppedPlatform
from tests.support.runs.stepped_platform import start as begin
from vila2.client import ApiError, Client
from vila2.schemas.rest.problem import Problem


def refusal(status: int) -> ApiError:
    return ApiError(Problem(type="about:blank", title="no", status=status, detail="not now"))


@pytest.mark.parametrize(
    ("status", "passing"), [(404, False), (409, False), (422, False), (429, True), (503, True)]
)
def test_a_refusal_is_of_the_moment_or_for_good(status: int, passing: bool) -> None:
    assert refusal(status).passing == passing


@pytest.mark.parametrize("error", [refusal(503), ConnectionError("gone"), RuntimeError("a bug")])
def test_a_run_waits_while_another_service_is_unwell(
    stepped: SteppedPlatform, error: Exception
) -> None:
    made = begin(stepped, bare())
    stepped.until(made, "round 0", "training")
    healthy = stepped.controller.reconciler._platform

    def unwell(team: str) -> Client:
        raise error

    stepped.controller.reconciler._platform = unwell
    stepped.controller.reconciler.tick()
    held = stepped.client.controller.run(made)
    assert held.state == "running"
    assert held.trouble
    stepped.controller.reconciler._platform = healthy
    finished = stepped.finish(made)
    assert (finished.state, finished.trouble) == ("finished", "")


def test_a_run_is_told_of_though_what_works_for_it_is_silent(stepped: SteppedPlatform) -> None:
    """Its rounds and verdicts are the controller's own; only how far a job is, is not."""
    made = begin(stepped, bare())
    stepped.until(made, "round 0", "training")
    stepped.controller.reconciler.tick()
    (row,) = [row for row in stepped.controller.runs.running() if row.id == made]
    nobody = Client.connect("http://127.0.0.1:9", key="none.none")
    held = run_view(stepped.controller.runs, nobody, row)
    assert held.state == "running"
    assert held.phase == "round 0: training, how far is unknown: a service does not answer"


def test_one_run_in_trouble_holds_no_other_up(stepped: SteppedPlatform) -> None:
    first, second = begin(stepped, bare(), name="one"), begin(stepped, bare(), name="two")
    healthy = stepped.controller.runs.recipes

    def broken(run_id: str) -> object:
        if run_id == first:
            raise RuntimeError("its rows are broken")
        return healthy(run_id)

    stepped.controller.runs.recipes = broken  # type: ignore[method-assign,assignment]
    assert stepped.finish(second).state == "finished"
    assert "rows are broken" in stepped.client.controller.run(first).trouble
