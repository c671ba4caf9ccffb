"""What is of the moment holds a run up; it does not end it."""

from __future__ import annotations

import pytest

from services.controller.runs.views import run_view
from tests.controller.test_operations import bare
from tests.plane.plane import Plane
from tests.plane.plane import start as begin
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
def test_a_run_waits_while_another_service_is_unwell(plane: Plane, error: Exception) -> None:
    made = begin(plane, bare())
    plane.until(made, "round 0", "training")
    healthy = plane.controller.reconciler._platform

    def unwell(team: str) -> Client:
        raise error

    plane.controller.reconciler._platform = unwell
    plane.controller.reconciler.tick()
    held = plane.client.controller.run(made)
    assert held.state == "running"
    assert held.trouble
    plane.controller.reconciler._platform = healthy
    finished = plane.finish(made)
    assert (finished.state, finished.trouble) == ("finished", "")


def test_a_run_is_told_of_though_what_works_for_it_is_silent(plane: Plane) -> None:
    """Its rounds and verdicts are the controller's own; only how far a job is, is not."""
    made = begin(plane, bare())
    plane.until(made, "round 0", "training")
    plane.controller.reconciler.tick()
    (row,) = [row for row in plane.controller.runs.running() if row.id == made]
    nobody = Client.connect("http://127.0.0.1:9", key="none.none")
    held = run_view(plane.controller.runs, nobody, row)
    assert held.state == "running"
    assert held.phase == "round 0: training, how far is unknown: a service does not answer"


def test_one_run_in_trouble_holds_no_other_up(plane: Plane) -> None:
    first, second = begin(plane, bare(), name="one"), begin(plane, bare(), name="two")
    healthy = plane.controller.runs.recipes

    def broken(run_id: str) -> object:
        if run_id == first:
            raise RuntimeError("its rows are broken")
        return healthy(run_id)

    plane.controller.runs.recipes = broken  # type: ignore[method-assign,assignment]
    assert plane.finish(second).state == "finished"
    assert "rows are broken" in plane.client.controller.run(first).trouble
