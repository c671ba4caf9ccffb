"""A service of three routes, put together as the real ones are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy.orm import DeclarativeBase

from services.chassis.asgi import AppThread, InProcessTransport
from services.chassis.auth import KeyRing, Principal, require
from services.chassis.database import Database
from services.chassis.errors import Conflict
from services.chassis.rest.kept_replies import KeptReplies, KeptReplyColumns
from services.chassis.service import create_service
from vila2.api.base import Model
from vila2.api.problem import Problem
from vila2.client import ApiError, Unreachable

router = APIRouter(prefix="/v1")


class NoteIn(Model):
    """A body with a field that is a number and a nested one."""

    size: int
    inner: dict[str, int] | None = None


@router.get("/whoami")
def whoami(caller: Annotated[Principal, Depends(require("runs:read"))]) -> dict[str, str]:
    return {"team": caller.team}


@router.post("/notes")
def note(body: NoteIn, _: Annotated[Principal, Depends(require("runs:write"))]) -> NoteIn:
    return body


@router.post("/taken")
def taken(_: Annotated[Principal, Depends(require("runs:write"))]) -> None:
    raise Conflict("it is taken", field="name", fix="choose another")


@router.post("/broken")
def broken(_: Annotated[Principal, Depends(require("runs:write"))]) -> None:
    raise RuntimeError("the secret plan is in /etc")


@router.post("/refused-elsewhere")
def refused(_: Annotated[Principal, Depends(require("runs:write"))]) -> None:
    raise ApiError(
        Problem(
            type="x", title="NotFound", status=404, detail="no", field="dataset",
            fix="make it first",
        )
    )  # fmt: skip


@router.post("/silent")
def silent(_: Annotated[Principal, Depends(require("runs:write"))]) -> None:
    raise Unreachable("no answer")


class Base(DeclarativeBase):
    """The service's metadata."""


class KeptReplyRow(KeptReplyColumns, Base):
    __tablename__ = "kept_replies"


class Idle:
    """A context without background work."""

    def __init__(self, folder: Path) -> None:
        database = Database.sqlite(folder / "small.sqlite", Base.metadata)
        self.replies = KeptReplies(database, KeptReplyRow)

    def start(self) -> None: ...

    def stop(self) -> None: ...


class SmallApp:
    """The app, its keys, and requests to it."""

    def __init__(self, keys: KeyRing, app: FastAPI, thread: AppThread) -> None:
        self.keys = keys
        self._http = httpx2.Client(
            base_url="http://small/", transport=InProcessTransport(app, thread)
        )

    def send(
        self, method: str, path: str, *, key: str = "", headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:  # fmt: skip
        given = {"authorization": f"Bearer {key}"} if key else {}
        return self._http.request(method, path, headers={**given, **(headers or {})}, **options)


@contextmanager
def small_app(folder: Path) -> Iterator[SmallApp]:
    keys, thread = KeyRing(folder / "keys.json"), AppThread()
    app = create_service("small", title="small", router=router, context=Idle(folder), keys=keys)
    thread.start(app)
    try:
        yield SmallApp(keys, app, thread)
    finally:
        thread.stop()
