"""Lives of a process: it is forked, works on a workspace, and ends by itself or by SIGKILL."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from tests.crash.boundaries import Watch, install
from tests.plane.plane import Plane, recipe, start
from vila2.data.layers import decode_layer_shard
from vila2.recipe import Recipe

TOKEN = "the-run"
KILLED, ENDED, BROKE = -9, 0, 1


def small() -> Recipe:
    """One round, one specialist, one control: every kind of step once."""
    return recipe(rounds={"maximum": 1, "patience": 1})


def several() -> Recipe:
    """One round, and three seeds of all that is trained."""
    rounds = {"maximum": 1, "patience": 1, "seeds": 3}
    return recipe(rounds=rounds, specialists=[], controls=[])


def live(workspace: Path, watch: Watch, made: Recipe | None = None) -> int:
    """Fork a process that carries the run on to its end; -9 where the watch killed it."""
    child = os.fork()
    if child == 0:
        status = BROKE
        try:
            with Plane(workspace) as plane:
                install(watch)
                to_the_end(plane, made or small())
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

        def seen(_: int, name: str) -> None:
            print(name, file=out, flush=True)

        assert live(copied(world, folder), Watch(seen=seen), made) == ENDED
    return told.read_text().splitlines()


def to_the_end(plane: Plane, made: Recipe) -> None:
    """Start the run, or find it, and see it finish."""
    held = plane.finish(start(plane, made, token=TOKEN))
    assert held.state == "finished", held.error


def result(workspace: Path, made: Recipe | None = None) -> dict[str, Any]:
    """All that a finished run is, without the ids and times that differ between any two runs."""
    with Plane(workspace) as plane:
        run = plane.client.controller.run(start(plane, made or small(), token=TOKEN))
        events: dict[str, list[str]] = {}
        for happened in plane.client.controller.events(run.id):
            said = f"{happened.kind}: {_nameless(happened.message)}"
            events.setdefault(happened.round, []).append(said)
        models = {m.name: m.sha256 for m in plane.client.training.models()}
        rounds = {
            held.name: {
                "kind": held.kind,
                "state": held.state,
                "scores": held.scores,
                "verdict": _nameless(repr(held.verdict)),
                "model": models[held.model],
                "seeds": {one.seed: models[one.model] for one in held.seeds},
                "captions": _captions(plane, held.layer),
            }
            for held in run.rounds
        }
        jobs = plane.client.training.jobs()
        layers = plane.client.datasets.layers()
        return {
            "state": run.state,
            "rounds": rounds,
            "events": events,
            "weights": sorted(models.values()),
            "jobs": Counter((_nameless(job.name), job.kind, job.state) for job in jobs),
            "layers": sorted(
                (_nameless(layer.name), layer.state, _captions(plane, layer.id)) for layer in layers
            ),
        }


def _captions(plane: Plane, layer: str) -> str:
    if not layer:
        return ""
    shards = plane.client.datasets.layer_shards(layer)
    rows = [
        row
        for number in range(len(shards))
        for row in decode_layer_shard(plane.client.datasets.layer_content(layer, number))
    ]
    text = "\n".join(f"{row.key} {row.status} {row.attempt} {row.caption}" for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def _nameless(text: str) -> str:
    """Without what is drawn anew for each run: ids, and models' names, which end in a job's."""
    text = re.sub(r"\b(run|job|layer|layer-job|specialist)-[0-9a-f]{6,}", r"\1-#", text)
    return re.sub(r"-[0-9a-f]{8}-[0-9a-f]{4}\b", "-#", text)
