"""Two teams on one platform: who has one run does not wait for who has five."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.services.controller.runs.test_operations import bare
from tests.support.runs.stepped_platform import SIZES, SteppedPlatform, submitted_world
from vila2.client import Client
from vila2.schemas.rest.controller import RunIn

ONE_ROUND = {"maximum": 1, "patience": 1}
MANY = 5


@pytest.fixture(scope="module")
def shared(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world's workspace, in which the team `others` has the same datasets."""
    made = tmp_path_factory.mktemp("teams") / "workspace"
    shutil.copytree(world, made)
    with EmbeddedPlatform(made) as platform:
        submitted_world(platform._internal.as_team("others"), world.parent / "world")
    return made


def begin(client: Client, name: str) -> str:
    body = RunIn(recipe=bare(rounds=ONE_ROUND).model_dump(mode="json"), name=name)
    return client.controller.start_run(body).id


class ShortLooks:
    """A controller that gets to so many runs at each look, as one that loses its lease there."""

    def __init__(self, runs: int) -> None:
        self._runs, self._left = runs, 0

    def look(self) -> None:
        self._left = 1 + self._runs

    def __call__(self) -> bool:
        self._left -= 1
        return self._left >= 0


def turns_until_done(stepped: SteppedPlatform, run: str, looks: ShortLooks) -> int:
    for turn in range(1, 200):
        looks.look()
        stepped.turn()
        if run not in {row.id for row in stepped.controller.runs.running()}:
            held = stepped.client.controller.run(run)
            assert held.state == "finished", held.error
            return turn
    raise AssertionError("the run has not ended")


def captioned(client: Client) -> int:
    return sum(layer.captioned for layer in client.datasets.layers())


@pytest.mark.slow
def test_a_teams_one_run_takes_as_many_looks_beside_five_of_another_as_alone(
    shared: Path, tmp_path: Path
) -> None:
    """Each look reaches two runs: one of every team. By then the others have a fifth each."""
    turns = []
    for others in (0, MANY):
        folder = tmp_path / f"beside-{others}"
        shutil.copytree(shared, folder)
        with SteppedPlatform(folder) as stepped:
            looks = ShortLooks(2)
            stepped.controller.reconciler._leads = looks
            many = stepped.platform._internal.as_team("others")
            for number in range(others):
                begin(many, f"one-of-many-{number}")
            turns.append(turns_until_done(stepped, begin(stepped.client, "alone"), looks))
            assert captioned(stepped.client) == SIZES.corpus
            # What the others were captioned in the same time is no more than their share.
            assert captioned(many) <= SIZES.corpus
            states = {run.state for run in many.controller.runs()}
            assert states == ({"running"} if others else set())
    alone, beside = turns
    assert beside <= alone + 2
