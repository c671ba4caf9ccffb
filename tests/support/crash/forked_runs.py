"""Runs in a forked process: it works on a workspace, and ends by itself or by SIGKILL."""

from __future__ import annotations

import os
import shutil
import traceback
from pathlib import Path
from typing import Any

from tests.support.crash.boundaries import Watch, install
from tests.support.runs.outcome import outcome
from tests.support.runs.stepped_platform import SteppedPlatform, recipe, start
from vila2.recipes.recipe import Recipe

TOKEN = "the-run"
KILLED, ENDED, BROKE = -9, 0, 1


def small_recipe() -> Recipe:
    """One round, one specialist, one control: every kind of step once."""
    return recipe(rounds={"maximum": 1, "patience": 1})


def seeded_recipe() -> Recipe:
    """One round, and three seeds of all that is trained."""
    rounds = {"maximum": 1, "patience": 1, "seeds": 3}
    return recipe(rounds=rounds, specialists=[], controls=[])


def run_in_child(workspace: Path, watch: Watch, made: Recipe | None = None) -> int:
    """Fork a process that carries the run on to its end; -9 where the watch killed it."""
    child = os.fork()
    if child == 0:
        status = BROKE
        try:
            with SteppedPlatform(workspace) as stepped:
                install(watch)
                to_the_end(stepped, made or small_recipe())
            status = ENDED
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(ended)


def copied(world: Path, folder: Path) -> Path:
    """A workspace of its own with the small world in it."""
    shutil.copytree(world, folder)
    return folder


def moments(world: Path, folder: Path, made: Recipe | None = None) -> list[str]:
    """The names of all boundaries that an undisturbed run passes, in order; it is left there."""
    told = folder.with_suffix(".moments")
    with told.open("w") as out:

        def told_of(_: int, name: str) -> bool:
            print(name, file=out, flush=True)
            return False

        assert run_in_child(copied(world, folder), Watch(told_of), made) == ENDED
    return told.read_text().splitlines()


def survives(world: Path, folder: Path, moment: int, expected: dict[str, Any]) -> bool:
    """Whether a run that is killed at this moment, and carried on, ends the same.

    The last moments may not come: a lease is renewed by the clock, once more on a slow machine.
    """
    there = copied(world, folder)
    ended = run_in_child(there, Watch.at(moment))
    if ended == KILLED:
        ended = run_in_child(there, Watch())
    same = ended == ENDED and result(there) == expected
    shutil.rmtree(there)
    return same


def to_the_end(stepped: SteppedPlatform, made: Recipe) -> None:
    """Start the run, or find it, and see it finish."""
    held = stepped.finish(start(stepped, made, token=TOKEN))
    assert held.state == "finished", held.error


def result(workspace: Path, made: Recipe | None = None) -> dict[str, Any]:
    """What the finished run has come to."""
    with SteppedPlatform(workspace) as stepped:
        return outcome(stepped.client, start(stepped, made or small_recipe(), token=TOKEN))
