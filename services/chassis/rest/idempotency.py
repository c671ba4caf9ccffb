"""`Idempotency-Key`: a POST that is sent again gets the reply of the first time.

After draft-ietf-httpapi-idempotency-key-header. A key counts within (team, method, path); with it
are kept a fingerprint of the request and its reply, for a day. A reply that was kept says
`Idempotent-Replayed: false`, and `true` whenever it is given again; one without that header was not
kept: errors of ours (5xx), refusals that say nothing of the request (401, 403, 429), replies that
stream, that say `Cache-Control: no-store`, or are larger than 1 MiB. Uploads are PUTs, which may be
repeated as they are.

A middleware sees the reply, but who asks is known only further in, so `require` in
`services.chassis.auth` calls `begin` once it has let the caller in.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.errors import Invalid
from services.chassis.rest import kept_replies
from services.chassis.rest.kept_replies import HEADER, KeptReplies, KeptReply

REPLAYED = "Idempotent-Replayed"
PATTERN = r"^[!-~]{1,255}$"
LARGEST = 1 << 20
_ATTEMPT = "vila2.idempotent_attempt"
_NEVER_KEPT = (401, 403, 429)


class Attempt:
    """One request that came with a key."""

    def __init__(self, replies: KeptReplies, scope: Scope, key: str) -> None:
        self._replies, self._key = replies, key
        self._where = f"{scope['method']} {scope['path']}"
        self._hash = hashlib.sha256(scope.get("query_string", b"") + b"\0")
        self._identity = self.claim = ""

    def hear(self, message: Message) -> Message:
        """Let what the app receives count for the fingerprint."""
        self._hash.update(message.get("body", b""))
        return message

    def begin(self, team: str) -> None:
        """Claim the key; raises `Replay` with the reply of before, or a refusal."""
        if not re.fullmatch(PATTERN, self._key):
            raise Invalid(
                "a key has 1 to 255 visible ASCII characters", field=HEADER, fix="send a UUID"
            )
        named = "\0".join((team, self._where, self._key))
        self._identity = hashlib.sha256(named.encode()).hexdigest()
        found = self._replies.claim(self._identity, self._hash.hexdigest())
        if isinstance(found, KeptReply):
            raise Replay(found)
        self.claim = found

    async def settle(self, reply: KeptReply | None) -> None:
        """Keep the reply, or free the key."""
        claim, self.claim = self.claim, ""
        if claim and reply is not None:
            await run_in_threadpool(self._replies.keep, self._identity, claim, reply)
        elif claim:
            await run_in_threadpool(self._replies.drop, self._identity, claim)

    @asynccontextmanager
    async def renewed(self) -> AsyncIterator[None]:
        """Hold the claim for as long as the request is at work."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(kept_replies.CLAIM_SECONDS / 3)
                if self.claim:
                    await run_in_threadpool(self._replies.renew, self._identity, self.claim)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing


class Replay(Exception):
    """The request was answered before."""

    def __init__(self, reply: KeptReply) -> None:
        super().__init__("answered before")
        self.reply = reply


def begin(request: Request, team: str) -> None:
    """Called once a caller is let in: see `Attempt.begin`. Without a key it does nothing."""
    attempt: Attempt | None = request.scope.get(_ATTEMPT)
    if attempt is not None:
        attempt.begin(team)


class Idempotency:
    """The middleware: it listens to the request, and keeps the reply."""

    def __init__(self, app: ASGIApp, replies: KeptReplies) -> None:
        self._app, self._replies = app, replies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; where it has a key, keep what comes back."""
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" else None
        if key is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        attempt = scope[_ATTEMPT] = Attempt(self._replies, scope, key)
        start: Message = {}
        body = bytearray()

        async def hear() -> Message:
            return attempt.hear(await receive())

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                if attempt.claim and _is_kept(message):
                    start.update(message)
                    MutableHeaders(scope=message)[REPLAYED] = "false"
                elif attempt.claim:
                    await attempt.settle(None)
            elif start:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    # Before the caller has it: whoever asks again shall find it.
                    await attempt.settle(_reply(start, bytes(body)))
            await send(message)

        async with attempt.renewed():
            try:
                await self._app(scope, hear, keep)
            finally:
                await attempt.settle(None)


def add_replays(app: FastAPI) -> None:
    """Answer with the reply of before."""

    @app.exception_handler(Replay)
    def _again(_: Request, error: Replay) -> Response:
        kept = error.reply
        headers = {**kept.headers, REPLAYED: "true"}
        return Response(kept.body, status_code=kept.status, headers=headers)


def _is_kept(start: Message) -> bool:
    """Whether a reply is kept, by its status and headers."""
    headers = Headers(raw=start["headers"])
    length = headers.get("content-length", "")
    return (
        start["status"] < 500
        and start["status"] not in _NEVER_KEPT
        and length.isdigit()
        and int(length) <= LARGEST
        and "no-store" not in headers.get("cache-control", "")
    )


def _reply(start: Message, body: bytes) -> KeptReply:
    headers = dict(Headers(raw=start["headers"]))
    headers.pop(REPLAYED.lower(), None)
    headers.pop("content-length", None)  # the reply counts itself
    return KeptReply(start["status"], headers, body)
