"""Entity tags: replies that a caller has already are not sent again, and blind changes are refused.

Every GET that answers with a whole body of at most 1 MiB gets a strong `ETag`, the digest of that
body; a route that knows a better one, such as a file's digest, sets it itself. `If-None-Match` with
that tag answers 304. A change that takes `If-Match` is refused with 412 where the resource is no
longer what the caller saw.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Response
from pydantic import BaseModel
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.errors import PreconditionFailed

LARGEST = 1 << 20
# What a 304 repeats of the reply that it stands for.
_OF_NOT_MODIFIED = (b"etag", b"cache-control", b"vary", b"link", b"content-location")


def tag_of(content: bytes) -> str:
    """The strong entity tag of a body."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def set_tag(response: Response, model: BaseModel) -> None:
    """Give the reply the tag by which `Unchanged.check` knows the same model again."""
    response.headers["ETag"] = tag_of(model.model_dump_json().encode())


class Unchanged:
    """What the caller of a change believes the resource to be."""

    def __init__(self, given: str | None) -> None:
        self._given = given

    def check(self, present: BaseModel) -> None:
        """Raise `PreconditionFailed` unless the resource is as the caller saw it.

        Asked in the transaction of the change; a caller that sent no `If-Match` does not mind.
        """
        held = tag_of(present.model_dump_json().encode())
        if self._given is not None and not _names(self._given, held, weak=False):
            raise PreconditionFailed(
                "somebody has changed this since you read it",
                field="If-Match",
                fix="read it again, and send the ETag of what you then see",
            )


def unchanged(
    if_match: Annotated[
        str | None,
        Header(max_length=1000, description="The ETag of what is to be changed; else 412."),
    ] = None,
) -> Unchanged:
    """A dependency: the request's `If-Match`."""
    return Unchanged(if_match)


IfMatch = Annotated[Unchanged, Depends(unchanged)]


class EntityTags:
    """The middleware: it tags what GETs answer, and answers 304 where the caller has it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; hold a short reply back until its tag is known."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        wanted = Headers(scope=scope).get("if-none-match", "")
        reply = _Reply(wanted, send)
        await self._app(scope, receive, reply.take)


class _Reply:
    """One reply on its way: passed through, held back for its tag, or cut to a 304."""

    def __init__(self, wanted: str, send: Send) -> None:
        self._wanted, self._send = wanted, send
        self._start: Message | None = None
        self._body = bytearray()
        self._ended = False

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif self._start is not None:
            self._body.extend(message.get("body", b""))
            if not message.get("more_body", False):
                start, self._start = self._start, None
                MutableHeaders(scope=start)["ETag"] = tag_of(bytes(self._body))
                await self._tagged(start)
                await self._pass({"type": "http.response.body", "body": bytes(self._body)})
        else:
            await self._pass(message)

    async def _begin(self, message: Message) -> None:
        headers = Headers(raw=message["headers"])
        length = headers.get("content-length", "")
        if message["status"] == 200 and "etag" in headers:
            await self._tagged(message)
        elif message["status"] == 200 and length.isdigit() and int(length) <= LARGEST:
            self._start = message
        else:
            await self._send(message)

    async def _tagged(self, start: Message) -> None:
        """Send the head of a tagged reply, or all of a 304."""
        headers = MutableHeaders(scope=start)
        headers.setdefault("Cache-Control", "private, no-cache")
        if not _names(self._wanted, headers["etag"], weak=True):
            await self._send(start)
            return
        kept = [(name, value) for name, value in start["headers"] if name in _OF_NOT_MODIFIED]
        await self._send({"type": "http.response.start", "status": 304, "headers": kept})
        await self._send({"type": "http.response.body", "body": b""})
        self._ended = True

    async def _pass(self, message: Message) -> None:
        if not self._ended:
            await self._send(message)


def _names(given: str, tag: str, *, weak: bool) -> bool:
    """Whether an `If-Match` or `If-None-Match` names the tag (RFC 9110, section 13.1)."""
    names = [name.strip() for name in given.split(",")]
    if weak:
        names = [name.removeprefix("W/") for name in names]
    return "*" in names or tag.removeprefix("W/" if weak else "") in names
