"""What is done to the platform while a run is on its way: one row each.

`when` is a question to the database whose answer must be yes before the fault begins; `breaks` is
entered then, and left when it ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from services.platform.targets import TARGETS
from tests.support.chaos.proxy import Mode
from tests.support.chaos.stack import SERVERS, WORKERS, Stack

CAPTIONING = "SELECT count(*) > 0 FROM caption.work_units WHERE state = 'leased' AND progress >= 0"
TRAINING = "SELECT count(*) > 0 FROM training.jobs WHERE state = 'running'"
SPECIALISING = "SELECT count(*) > 0 FROM specialist.specialists WHERE state = 'training'"
QUEUE = "vila2.caption"
QUICK_JOB = "tests.support.chaos.quick_job"


@dataclass(frozen=True)
class Fault:
    """One row; `needs` says why it cannot be tried here, and is empty where it can."""

    name: str
    when: str
    seconds: float
    breaks: Callable[[Stack], AbstractContextManager[None]]
    needs: Callable[[Stack], str] = lambda _: ""
    specialists: bool = False  # whether the run is one with a specialist


def killed(*names: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """SIGKILL, and started again at the end."""

    @contextmanager
    def breaks(stack: Stack) -> Iterator[None]:
        stack.kill(*names)
        yield
        stack.start(*names)

    return breaks


def stopped(*names: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """SIGSTOP: it holds its connections, locks and leases, and does nothing."""

    @contextmanager
    def breaks(stack: Stack) -> Iterator[None]:
        stack.signal(signal.SIGSTOP, *names)
        yield
        stack.signal(signal.SIGCONT, *names)

    return breaks


def server_killed(name: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """SIGKILL, and started again on the same data."""

    @contextmanager
    def breaks(stack: Stack) -> Iterator[None]:
        stack.servers.process(name).kill()
        yield
        stack.servers.process(name).start()

    return breaks


def server_stopped(name: str) -> Callable[[Stack], AbstractContextManager[None]]:
    """SIGSTOP: it accepts connections and answers none."""

    @contextmanager
    def breaks(stack: Stack) -> Iterator[None]:
        stack.servers.process(name).signal(signal.SIGSTOP)
        yield
        stack.servers.process(name).signal(signal.SIGCONT)

    return breaks


def network(
    mode: Mode, *, of: tuple[str, ...], to: tuple[str, ...] = ()
) -> Callable[[Stack], AbstractContextManager[None]]:
    """Links from these to those are changed."""

    @contextmanager
    def breaks(stack: Stack) -> Iterator[None]:
        before = stack.lost_answers()
        stack.network(mode, of=of, to=to)
        yield
        stack.network("pass", of=of, to=to)
        assert mode != "lose-answers" or stack.lost_answers() > before, "no answer was lost"

    return breaks


def skewed(name: str, seconds: float) -> Callable[[Stack], AbstractContextManager[None]]:
    """The process is started again with a wrong clock, and with the right one at the end."""

    @contextmanager
    def breaks(stack: Stack) -> Iterator[None]:
        stack.kill(name)
        stack.start(name, clock=seconds)
        yield
        stack.kill(name)
        stack.start(name)

    return breaks


def hints(
    change: Callable[[redis.Redis], object],
) -> Callable[[Stack], AbstractContextManager[None]]:  # type: ignore[type-arg]
    """The broker's messages are changed over and over."""

    @contextmanager
    def breaks(stack: Stack) -> Iterator[None]:
        ending = threading.Event()
        client = redis.Redis.from_url(stack.servers.redis.url)

        def work() -> None:
            while not ending.wait(0.02):
                change(client)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield
        ending.set()
        thread.join()
        client.close()

    return breaks


def dropped(client: redis.Redis) -> None:  # type: ignore[type-arg]
    """Every message is lost before anybody reads it."""
    client.delete(QUEUE)


def doubled(client: redis.Redis) -> None:  # type: ignore[type-arg]
    """Every message that waits is there five times."""
    waiting = client.lrange(QUEUE, 0, -1)
    if 0 < len(waiting) < 40:
        for message in waiting:
            client.rpush(QUEUE, *[message] * 4)


@contextmanager
def disk_full(stack: Stack) -> Iterator[None]:
    """Not a byte is left where job folders and caches lie."""
    ballast = stack.workspace / "ballast"
    with ballast.open("wb") as out, suppress(OSError):
        while True:
            out.write(b"\0" * 2**20)
            out.flush()
    yield
    ballast.unlink()


def no_file_system_of_its_own(stack: Stack) -> str:
    """Why the disk is not filled: it would be everybody's."""
    size = shutil.disk_usage(stack.workspace).total
    return "" if size < 2**30 else "needs root, to give the workspace a small file system"


@contextmanager
def trainer_killed(stack: Stack) -> Iterator[None]:
    """SIGKILL to the training process itself, below its supervisor."""
    for pid in _trainers(stack):
        os.kill(pid, signal.SIGKILL)
    yield


@contextmanager
def everything_killed(stack: Stack) -> Iterator[None]:
    """A power cut: every process and server at once."""
    stack.kill(*stack.names)
    for pid in _trainers(stack, seconds=0):
        os.kill(pid, signal.SIGKILL)
    for name in SERVERS:
        stack.servers.process(name).kill()
    yield
    for name in SERVERS:
        stack.servers.process(name).start()
    stack.start(*stack.names)


def _trainers(stack: Stack, *, seconds: float = 10) -> list[int]:
    """Training and evaluation processes of this workspace; if there are none, soon."""
    found: list[int] = []
    end = time.monotonic() + seconds
    while not found:
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                # A fork shows its words in more room than they need.
                words = (entry / "cmdline").read_text().rstrip("\0").split("\0")
                if (
                    "tests.support.chaos.quick_job" in words[:3]
                    and str(stack.workspace) in words[-1]
                ):
                    found.append(int(entry.name))
        if time.monotonic() >= end:
            break
    return found


EVERYBODY = (*TARGETS, *WORKERS)
FAULTS = (
    *(
        Fault(f"kill -9 {name}", when, 3, killed(name), specialists=name == "specialist")
        for name, when in (
            ("datasets", CAPTIONING),
            ("caption", CAPTIONING),
            ("specialist", SPECIALISING),
            ("training", TRAINING),
            ("controller", TRAINING),
        )
    ),
    Fault("kill -9 a caption worker", CAPTIONING, 3, killed(WORKERS[0])),
    Fault("kill -9 both caption workers", CAPTIONING, 3, killed(*WORKERS)),
    Fault("kill -9 the trainer", TRAINING, 1, trainer_killed),
    Fault("kill -9 everything, servers too", CAPTIONING, 3, everything_killed),
    Fault("a caption worker hangs past its lease", CAPTIONING, 12, stopped(WORKERS[0])),
    Fault("the caption service hangs", CAPTIONING, 8, stopped("caption")),
    Fault("the controller hangs past its lease", TRAINING, 18, stopped("controller")),
    Fault("the training service hangs", TRAINING, 8, stopped("training")),
    *(
        Fault(f"{title} {what}", CAPTIONING, 8, breaks(name))
        for name, title in (("postgres", "PostgreSQL"), ("redis", "Redis"), ("s3", "S3"))
        for what, breaks in (("is killed", server_killed), ("hangs", server_stopped))
    ),
    Fault("hints are lost", CAPTIONING, 8, hints(dropped)),
    Fault("hints come five times", CAPTIONING, 8, hints(doubled)),
    Fault("answers between all services are lost", CAPTIONING, 6,
          network("lose-answers", of=EVERYBODY, to=tuple(TARGETS))),
    Fault("a worker is cut off from everything", CAPTIONING, 8,
          network("refuse", of=WORKERS[:1])),
    Fault("workers and dataset store are cut off", CAPTIONING, 10,
          network("refuse", of=WORKERS, to=("datasets",))),
    Fault("controller and training are cut off", TRAINING, 8,
          network("refuse", of=("controller", "specialist"), to=("training",))),
    Fault("nobody reaches PostgreSQL", TRAINING, 8,
          network("refuse", of=EVERYBODY, to=("postgres",))),
    Fault("packets to PostgreSQL vanish", CAPTIONING, 10,
          network("stall", of=EVERYBODY, to=("postgres",))),
    Fault("the disk of jobs and caches is full", TRAINING, 6, disk_full, no_file_system_of_its_own),
    Fault("a worker's clock is 10 minutes ahead", CAPTIONING, 12, skewed(WORKERS[0], 600)),
    Fault("a worker's clock is 10 minutes behind", CAPTIONING, 12, skewed(WORKERS[0], -600)),
    Fault("the caption service's clock is 10 minutes ahead", TRAINING, 12, skewed("caption", 600)),
    Fault("the training service's clock is 10 minutes behind", TRAINING, 8,
          skewed("training", -600)),
)  # fmt: skip
