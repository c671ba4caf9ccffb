"""Every moment at which the death of the process could matter, counted.

A process that dies leaves behind what it has committed and written; so the moments are: before and
after each commit of a transaction that wrote something, after each object that was put, and the
named crashpoints in between. `watch` counts them in this process and kills it at a chosen one, by
SIGKILL: nothing is cleaned up.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import services
from services.chassis import crashpoint as chassis_crashpoint
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects

_WRITES = ("INSERT", "UPDATE", "DELETE")


class Watch:
    """Counts boundaries, from 1, and dies at the first that `dies` says of; at none without it."""

    def __init__(self, dies: Callable[[int, str], bool] = lambda *_: False) -> None:
        self.count, self._dies = 0, dies

    @classmethod
    def at(cls, number: int) -> Watch:
        """Dies at that one."""
        return cls(lambda count, _: count == number)

    def __call__(self, name: str) -> None:
        # A unit's heart beats by the clock, so its writes are at no place in the order.
        if threading.current_thread().name.startswith("heartbeat"):
            return
        self.count += 1
        if self._dies(self.count, name):
            os.kill(os.getpid(), signal.SIGKILL)


def install(watch: Watch) -> None:
    """Watch this process from now on; for a process of its own, which is not given back."""
    wrote: set[int] = set()

    @event.listens_for(Engine, "before_cursor_execute")
    def _(connection: Any, _: Any, statement: str, *__: Any) -> None:
        if statement.lstrip().upper().startswith(_WRITES):
            wrote.add(id(connection))

    @contextmanager
    def transaction(self: Database) -> Iterator[Session]:
        with self._sessions() as session:
            name = str(self._engine.url.database).rpartition("/")[2].partition(".")[0]
            with session.begin():
                connection = session.connection()
                wrote.discard(id(connection))
                yield session
                session.flush()
                changed = id(connection) in wrote
                if changed:
                    watch(f"{name}: before a commit")
            if changed:
                watch(f"{name}: after a commit")

    Database.transaction = transaction  # type: ignore[method-assign]
    for method in ("put", "put_if_absent", "put_file", "put_directory", "delete"):
        _after(DirectoryObjects, method, watch)
    _crashpoints(watch)


def _after(owner: type[Any], method: str, watch: Watch) -> None:
    original = getattr(owner, method)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        watch(f"objects: after {method}")
        return made

    setattr(owner, method, wrapped)


def _crashpoints(watch: Watch) -> None:
    """The named ones, wherever they were imported to."""
    chassis_crashpoint.crashpoint = watch
    for name, module in list(sys.modules.items()):
        # The module of that name holds the function of that name, so modules are left alone.
        if name.startswith(services.__name__) and callable(getattr(module, "crashpoint", None)):
            module.crashpoint = watch
