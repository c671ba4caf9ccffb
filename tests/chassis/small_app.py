"""A service of three routes, put together as the real ones are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import DeclarativeBase

from services.chassis.asgi import AppThread, InProcessTransport
from services.chassis.auth import Principal, require
from services.chassis.database import Database
from services.chassis.errors import Conflict
from services.chassis.identity.identity import Identity
from services.chassis.identity.keys import Keys
from services.chassis.identity.settings import IdentitySettings
from services.chassis.rest import repeats
from services.chassis.rest.kept_replies import KeptReplies, KeptReplyColumns
from services.chassis.rest.started import Started
from services.chassis.service import create_service
from services.chassis.settings import StorageSettings
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


@router.post("/known")
def known(_: Annotated[Principal, Depends(require("runs:write"))]) -> None:
    repeats.found("token")


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


class Pace:
    """Counts what was carried out, and holds the slow route up for as long as a test wants."""

    def __init__(self) -> None:
        self.count = 0
        self.may_end, self.at_work = threading.Event(), threading.Event()
        self.may_end.set()

    def next(self) -> int:
        self.count += 1
        return self.count


def _pace(request: Request) -> Pace:
    pace: Pace = request.app.state.pace
    return pace


Paced = Annotated[Pace, Depends(_pace)]
Writer = Annotated[Principal, Depends(require("runs:write"))]


@router.post("/counts", status_code=202)
@router.post("/other-counts", status_code=202)
def counts(body: NoteIn, _: Writer, pace: Paced, started: Started) -> dict[str, int]:
    started.tell(f"counts/{pace.count}")
    return {"count": pace.next()}


@router.post("/streams")
def streams(_: Writer, pace: Paced) -> StreamingResponse:
    return StreamingResponse(iter([f"stream {pace.next()}"]), media_type="text/plain")


@router.post("/secrets")
def secrets(_: Writer, pace: Paced, response: Response) -> int:
    response.headers["Cache-Control"] = "no-store"
    return pace.next()


@router.post("/slow")
def slow(_: Writer, pace: Paced) -> str:
    pace.at_work.set()
    pace.may_end.wait(20)
    return "done"


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
    """The app, its identity, and requests to it."""

    def __init__(self, identity: Identity, app: FastAPI, thread: AppThread) -> None:
        self.identity, self.app = identity, app
        self.keys: Keys = identity.keys
        self.replies: KeptReplies = app.state.context.replies
        self._pace = app.state.pace = Pace()
        self._threads = ThreadPoolExecutor(2)
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
    def held_up(self) -> Iterator[None]:
        """The slow route does not end before the block does."""
        self._pace.may_end.clear()
        try:
            yield
        finally:
            self._pace.may_end.set()

    def wait_until_at_work(self) -> None:
        assert self._pace.at_work.wait(20)

    def in_background(self, ask: Callable[[], httpx2.Response]) -> Future[httpx2.Response]:
        return self._threads.submit(ask)


@contextmanager
def small_app(folder: Path, settings: IdentitySettings | None = None) -> Iterator[SmallApp]:
    identity = (settings or IdentitySettings()).open(folder, StorageSettings(database_url=""))
    thread = AppThread()
    context = Idle(folder)
    app = create_service(
        "small", title="small", routers=[router], context=context, identity=identity
    )
    thread.start(app)
    try:
        yield SmallApp(identity, app, thread)
    finally:
        thread.stop()
        identity.close()
