"""One run with one fault: whether it ends as the undisturbed one, and how soon it goes on."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.support.chaos.faults import Fault
from tests.support.chaos.stack import Stack
from tests.support.runs.outcome import outcome, rows_of
from tests.support.runs.stepped_platform import DATASETS, recipe
from vila2.client import ApiError, Client, Unreachable
from vila2.client.submit import submit
from vila2.scenes.datasets import WorldSizes, write_world
from vila2.schemas.rest.controller import RunIn

SIZES = WorldSizes(corpus=48, sft=8, specialist=8, base=8, dev=8, test=20, sft_skills=2)
SHARD_SAMPLES = 6
# A run that takes longer than this has not survived.
PATIENCE = 180.0
# Grows with whatever is done: a shard captioned, a job ended, a round moved, an event written.
DONE = """
SELECT (SELECT count(*) FROM caption.work_units WHERE state IN ('done', 'recorded')),
       (SELECT count(*) FROM training.jobs WHERE state = 'succeeded'),
       (SELECT coalesce(sum(version), 0) FROM controller.rounds),
       (SELECT count(*) FROM controller.events)
"""


@dataclass(frozen=True)
class Reference:
    """The undisturbed run."""

    outcome: dict[str, Any]
    captions: Counter[str]  # "layer's number/sample" -> rows
    seconds: float


@dataclass(frozen=True)
class Trial:
    """What came of one fault. Times are in seconds; `recovery` is from the fault's end to the
    first thing done after it. `lost` and `doubled` count captions, jobs, models and layers.
    """

    fault: str
    lasted: float
    recovery: float
    seconds: float
    lost: int
    doubled: int
    differs: tuple[str, ...] = ()  # parts of the outcome
    said: str = ""  # why it did not survive, or was not tried

    @property
    def survived(self) -> bool:
        """Whether it made no difference."""
        return not self.differs and not (self.lost or self.doubled or self.said)


class Progress:
    """Looks from outside when anything is done, ten times a second."""

    def __init__(self, stack: Stack) -> None:
        self._url = (
            f"host=127.0.0.1 port={stack.servers.postgres.port} user=postgres "
            f"dbname={stack.servers.database} connect_timeout=2"
        )
        self.moments: list[float] = []
        self._seen: tuple[int, ...] | None = None
        self._ending, self._asking = threading.Event(), threading.Lock()
        self._connection: psycopg.Connection | None = None
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(10)
        if self._connection is not None:
            self._connection.close()

    def ask(self, question: str) -> tuple[Any, ...] | None:
        """One row, or `None` while the database is away."""
        with self._asking:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg.connect(self._url, autocommit=True)
                return self._connection.execute(question.encode()).fetchone()
            except psycopg.Error:
                self._connection = None
                return None

    def _watch(self) -> None:
        while not self._ending.wait(0.1):
            found = self.ask(DONE)
            if found is not None and found != self._seen:
                self._seen = found
                self.moments.append(time.monotonic())

    def until(self, question: str, *, seconds: float = 90) -> None:
        """Wait until the answer is yes."""
        end = time.monotonic() + seconds
        while self.ask(question) != (True,):
            assert time.monotonic() < end, f"it never came to: {question}"
            time.sleep(0.02)

    def first_after(self, moment: float) -> float:
        """Seconds from a moment until something was done."""
        return next((at - moment for at in self.moments if at > moment), float("inf"))


def submitted(stack: Stack, folder: Path) -> None:
    """The small world's datasets."""
    write_world(folder, sizes=SIZES, seed=1)
    client = stack.client()
    for name, (split, kind) in DATASETS.items():
        version = submit(
            client, folder / split, name=name, format=kind, shard_samples=SHARD_SAMPLES
        )
        assert version.state == "ready", version.error
    client.close()


def undisturbed(stack: Stack, *, specialists: bool) -> Reference:
    """What every other run is held against."""
    client, began = stack.client(), time.monotonic()
    # Lower case, as models' names are: they hold the run's.
    name = f"chaos-reference-{int(specialists)}"
    run = _start(client, name, specialists=specialists)
    said = _ended(stack, client, run)
    assert not said, said
    held = Reference(outcome(client, run), _captions(client, run), time.monotonic() - began)
    client.close()
    return held


def tried(stack: Stack, fault: Fault, reference: Reference) -> Trial:
    """Start a run, break something in the middle, mend it, and see what it comes to."""
    unfit = fault.needs(stack)
    if unfit:
        return Trial(fault.name, 0, 0, 0, 0, 0, said=f"not tried: {unfit}")
    client, began = stack.client(), time.monotonic()
    name = f"chaos-{abs(hash((fault.name, began))) % 16**8:08x}"
    with Progress(stack) as progress:
        run = _start(client, name, specialists=fault.specialists)
        progress.until(fault.when)
        broken = time.monotonic()
        with fault.breaks(stack):
            time.sleep(fault.seconds)
            mended = time.monotonic()
        said = _ended(stack, client, run)
        ended = time.monotonic()
    got = Counter[str]() if said else _captions(client, run)
    made = {} if said else outcome(client, run)
    client.close()
    lost, doubled = _compared(reference, got, made)
    return Trial(
        fault.name,
        lasted=mended - broken,
        recovery=progress.first_after(mended),
        seconds=ended - began,
        lost=lost,
        doubled=doubled,
        differs=tuple(
            part for part, held in reference.outcome.items() if made and made[part] != held
        ),
        said=said,
    )


def _start(client: Client, name: str, *, specialists: bool) -> str:
    """One round, without controls, and one specialist if asked for."""
    small = recipe(rounds={"maximum": 1, "patience": 1}, controls=[])
    if not specialists:
        small = small.model_copy(update={"specialists": []})
    body = RunIn(recipe=small.model_dump(mode="json"), name=name)
    return client.controller.start_run(body, name).id


def _ended(stack: Stack, client: Client, run: str) -> str:
    """Wait for the run's end; why it did not come to the one that was wanted."""
    end, phase = time.monotonic() + PATIENCE, ""
    while time.monotonic() < end:
        # A service that is away says so, or breaks the connection.
        try:
            held = client.controller.run(run)
        except (ApiError, Unreachable) as error:
            phase = str(error)
        else:
            if held.state != "running":
                return "" if held.state == "finished" else f"{held.state}: {held.error}"
            phase = f"{held.phase} {held.trouble}"
        time.sleep(0.5)
    return f"not over after {PATIENCE:.0f} s: {phase}{stack.casualties()}"


def _captions(client: Client, run: str) -> Counter[str]:
    """How often each sample of each layer of the run was captioned."""
    held = client.controller.run(run)
    layers = sorted(
        (layer.name.removeprefix(held.name), layer.id)
        for layer in client.datasets.layers()
        if layer.name.startswith(held.name)
    )
    return Counter(f"{name}/{row.key}" for name, id in layers for row in rows_of(client, id))


def _compared(
    reference: Reference, captions: Counter[str], made: dict[str, Any]
) -> tuple[int, int]:
    """(lost, doubled) captions, jobs, models and layers."""
    lost, doubled = reference.captions - captions, captions - reference.captions
    for part in ("jobs", "weights", "layers"):
        wanted = Counter(map(str, _items(reference.outcome.get(part, ()))))
        found = Counter(map(str, _items(made.get(part, ()))))
        lost += wanted - found
        doubled += found - wanted
    return lost.total(), doubled.total()


def _items(part: Any) -> list[Any]:
    return list(part.elements()) if isinstance(part, Counter) else list(part)
