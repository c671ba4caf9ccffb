"""A service of three routes, put together as the real ones are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI

from services.chassis.storage.settings import StorageSettings
from services.chassis.web.app_factory import create_service
from services.chassis.web.asgi import AppThread, InProcessTransport
from services.chassis.web.errors import Conflict
from services.identity.identity import Identity
from services.identity.keys import Keys
from services.identity.require_scope import Principal, require
from services.identity.settings import IdentitySettings
from vila2.client import ApiError, Unreachable
from vila2.schemas.rest.base import Model
from vila2.schemas.rest.problem import Problem

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


class Idle:
    """A context without background work."""

    def start(self) -> None: ...

    def check(self) -> None: ...

    def stop(self) -> None: ...


class ExampleService:
    """The app, its identity, and requests to it."""

    def __init__(self, identity: Identity, app: FastAPI, thread: AppThread) -> None:
        self.identity, self.app = identity, app
        self.keys: Keys = identity.keys
        self._http = httpx2.Client(
            base_url="http://example/", transport=InProcessTransport(app, thread)
        )

    def send(
        self, method: str, path: str, *, key: str = "", headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:  # fmt: skip
        given = {"authorization": f"Bearer {key}"} if key else {}
        return self._http.request(method, path, headers={**given, **(headers or {})}, **options)


@contextmanager
def example_service(
    folder: Path, settings: IdentitySettings | None = None
) -> Iterator[ExampleService]:
    identity = (settings or IdentitySettings()).open(folder, StorageSettings(database_url=""))
    thread = AppThread()
    app = create_service(
        "example", title="example", routers=[router], context=Idle(), identity=identity
    )
    thread.start(app)
    try:
        yield ExampleService(identity, app, thread)
    finally:
        thread.stop()
        identity.close()
