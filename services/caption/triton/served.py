"""Which models a Triton server has loaded, tracked in SQL because several processes share it.

A process that needs a model claims its row and loads it while the others wait. If the memory budget
is exceeded, the least recently used model is unloaded; models in use never are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from services.caption.engines.engine import EngineUnavailable, ModelRefused
from services.caption.engines.triton_connection import Connection, Down, Refused
from services.caption.tables import ServedModelRow
from services.caption.triton.repository import EngineOptions, publish
from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from vila2.triton.vllm_sizes import VLLM_VERSION, dtype, engine_bytes, model_sizes

_log = structlog.get_logger()
LOADING, READY, FAILED, UNLOADED = "loading", "ready", "failed", "unloaded"
IN_USE_SECONDS = 20.0
_TOUCH_SECONDS = 5.0
_LOAD_SECONDS = 600.0
_POLL_SECONDS = 0.2
# A server needs more than the weights: activations and the KV cache.
_OVERHEAD = 1.5


@dataclass(frozen=True, slots=True)
class Held:
    """A model that occupies memory on the server."""

    prefix: str
    bytes: int
    used_at: float
    loading: bool


def victims(held: Sequence[Held], *, wanted: int, budget: int, now: float) -> list[str] | None:
    """The models to unload so that `wanted` bytes fit, least recently used first. Pure.

    `None` if unloading every idle model would not free enough.
    """
    missing = sum(model.bytes for model in held) + wanted - budget
    gone: list[str] = []
    for model in sorted(held, key=lambda model: model.used_at):
        if missing <= 0:
            break
        if not model.loading and now - model.used_at > IN_USE_SECONDS:
            gone.append(model.prefix)
            missing -= model.bytes
    return gone if missing <= 0 else None


class ServedModels:
    """Owns the rows of one server in the table `served_models`."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        connection: Connection,
        *,
        options: EngineOptions,
        budget: int,
        keep: Callable[[Session], set[str]] = lambda _: set(),
    ) -> None:
        self._database, self._objects, self._connection = database, objects, connection
        self._options, self._budget, self._keep = options, budget, keep
        self._server = connection.url
        self._touched: dict[str, float] = {}

    @property
    def backend(self) -> str:
        """What runs these models in Triton: `python`, which is the captioner, or `vllm`."""
        return self._options.backend

    @property
    def version(self) -> str:
        """Of what runs them, if it is not this package."""
        if self._options.backend == "python":
            return ""
        return f"vLLM {VLLM_VERSION} {dtype(gpu=self._options.gpus > 0)}"

    def ensure(self, prefix: str) -> None:
        """Return when the model is loaded; raises `EngineUnavailable` or `ModelRefused`."""
        end = time.monotonic() + _LOAD_SECONDS
        while time.monotonic() < end:
            with self._database.transaction() as session:
                row = session.get(ServedModelRow, (self._server, prefix))
                state, error = (row.state, row.error) if row else (UNLOADED, "")
                overdue = row is not None and row.since < time.time() - _LOAD_SECONDS
            if state == READY:
                self.touch(prefix)
                return
            if state == FAILED and not overdue and error:
                raise ModelRefused(error)
            if (state != LOADING or overdue) and self._claim(prefix, state):
                self._load(prefix)
                return
            time.sleep(_POLL_SECONDS)
        raise EngineUnavailable(f"{prefix} is not loaded after {_LOAD_SECONDS:.0f} s")

    def revive(self, prefix: str, trouble: str) -> None:
        """Reload a model that the server lost or whose process died, once for all callers."""
        asked = time.time()
        if not self._claim(prefix, READY, before=asked):
            self.ensure(prefix)
            return
        _log.warning("model is loaded anew", model=prefix, trouble=trouble[:200])
        try:
            self._connection.unload(_name(prefix))
        except (Down, Refused):
            _log.info("nothing to unload", model=prefix)
        self._load(prefix)

    def touch(self, prefix: str) -> None:
        """Mark the model as used; written to SQL at intervals."""
        now = time.time()
        if now - self._touched.get(prefix, 0.0) > _TOUCH_SECONDS:
            self._touched[prefix] = now
            self._set(prefix, used_at=now)

    def release(self, prefix: str) -> bool:
        """Unload a model unless it is in use; `ensure` loads it again."""
        with self._database.transaction() as session:
            row = session.get(ServedModelRow, (self._server, prefix))
            if row is None or row.state != READY:
                return row is None or row.state != LOADING
            if time.time() - row.used_at <= IN_USE_SECONDS:
                return False
            row.state, row.since = UNLOADED, time.time()
        self._unload(prefix)
        return True

    def held(self) -> list[ServedModelRow]:
        """The models that occupy memory now."""
        with self._database.transaction() as session:
            rows = session.scalars(self._loaded()).all()
            session.expunge_all()
            return list(rows)

    def _claim(self, prefix: str, state: str, *, before: float | None = None) -> bool:
        """Claim the loading of a model; unloads others first if memory is short."""
        weight = _bytes(self._objects.local(prefix), self._options)
        now = time.time()
        with self._database.transaction() as session:
            exclusively(session, "served-models")
            row = session.get(ServedModelRow, (self._server, prefix))
            if row is not None and row.state != state and row.since > now - _LOAD_SECONDS:
                return False
            if before is not None and row is not None and row.since > before - _POLL_SECONDS:
                return False  # it was reloaded after the error
            keep = self._keep(session)
            others = [
                Held(other.prefix, other.bytes, now if other.prefix in keep else other.used_at,
                     other.state == LOADING)
                for other in session.scalars(self._loaded())
                if other.prefix != prefix
            ]  # fmt: skip
            gone = victims(others, wanted=weight, budget=self._budget, now=now)
            if gone is None:
                held = ", ".join(_name(other.prefix) for other in others) or "nothing"
                raise EngineUnavailable(
                    f"{_name(prefix)} needs {weight / 2**20:.0f} MiB on the inference server, "
                    f"which has {self._budget / 2**20:.0f} MiB for models and uses {held}: "
                    "waiting for one of them to end; VILA2_TRITON_MEMORY raises the limit"
                )
            session.execute(
                update(ServedModelRow)
                .where(ServedModelRow.server == self._server, ServedModelRow.prefix.in_(gone))
                .values(state=UNLOADED, since=now)
            )
            if row is None:
                row = ServedModelRow(server=self._server, prefix=prefix)
                session.add(row)
            row.state, row.since, row.used_at = LOADING, now, now
            row.bytes, row.error = weight, ""
        for other_prefix in gone:
            self._unload(other_prefix)
        return True

    def _load(self, prefix: str) -> None:
        try:
            publish(self._objects, _name(prefix), prefix, self._options)
            self._connection.load(_name(prefix))
        except Refused as error:
            self._set(prefix, state=FAILED, error=f"Triton cannot load it: {error}"[:2000])
            raise ModelRefused(f"Triton cannot load {_name(prefix)}: {error}") from error
        except Down as error:
            self._set(prefix, state=UNLOADED)
            raise EngineUnavailable(f"the inference server is down: {error}") from error
        except BaseException:
            self._set(prefix, state=UNLOADED)
            raise
        self._set(prefix, state=READY, since=time.time(), used_at=time.time())

    def _unload(self, prefix: str) -> None:
        try:
            self._connection.unload(_name(prefix))
        except (Down, Refused) as error:
            _log.warning("model was not unloaded", model=prefix, error=str(error)[:200])

    def _set(self, prefix: str, **values: object) -> None:
        with self._database.transaction() as session:
            session.execute(
                update(ServedModelRow)
                .where(ServedModelRow.server == self._server, ServedModelRow.prefix == prefix)
                .values(**values)
            )

    def _loaded(self) -> Select[ServedModelRow]:
        return select(ServedModelRow).where(
            ServedModelRow.server == self._server, ServedModelRow.state.in_((LOADING, READY))
        )


def _name(prefix: str) -> str:
    return prefix.rpartition("/")[2]


def _bytes(folder: Path, options: EngineOptions) -> int:
    if options.backend == "vllm":
        return engine_bytes(model_sizes(folder), gpu=options.gpus > 0, rows=options.batch_size)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return int(weights * _OVERHEAD)
