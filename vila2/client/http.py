"""HTTP requests to one service: retries, pagination and errors.

If a reply is lost, the request is sent again if that is safe. Every method except POST is
idempotent. A POST that creates something carries an `Idempotency-Key`, by which the service finds
what it created. A service that has answered before is given a minute to restart. Lists are
paginated; `each` and `many` read all pages.
"""

from __future__ import annotations

import ipaddress
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
from pydantic import BaseModel, TypeAdapter

from vila2.schemas.rest.problem import Problem
from vila2.system import tracing
from vila2.system.request_id import HEADER, request_id

# Raised by a connection that broke after the request may have arrived.
_LOST = (
    httpx2.ReadError,
    httpx2.WriteError,
    httpx2.CloseError,
    httpx2.RemoteProtocolError,
)
# Seconds before each of two retries of a request whose reply was lost.
_PAUSES = (0.2, 1.0)
# Seconds before each retry of a request that did not arrive, at an address that has answered
# before: a service that is restarted is back within a minute.
_RESTART_PAUSES = (0.2, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
IDEMPOTENCY_KEY = "Idempotency-Key"
PAGE = 1000

TIMEOUT = httpx2.Timeout(120.0, connect=10.0)
# For requests to a model: it may have to be loaded, and a CPU is slow.
SLOW = httpx2.Timeout(1800.0, connect=10.0)
# Seconds that a request waits if a service answers `429` with `Retry-After`. A per-minute request
# limit has reset by then. A daily quota has not, and raises at once.
PATIENCE = 90.0

M = TypeVar("M", bound=BaseModel)


def http_client(url: str, **options: Any) -> httpx2.Client:
    """An HTTP client of one address. Loopback addresses bypass any configured proxy."""
    mounts = {f"all://{authority(url)}": None} if is_loopback(url) else {}
    return httpx2.Client(base_url=url, mounts=mounts, **options)


def is_loopback(url: str) -> bool:
    """Whether an address is a loopback address."""
    host = httpx2.URL(url).host
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return found.is_loopback or found.is_unspecified


def authority(url: str) -> str:
    """An address's host as it is written in a URL."""
    host = httpx2.URL(url).host
    return f"[{host}]" if ":" in host else host


class ApiError(Exception):
    """A request that a service refused; `problem` names the field and the fix.

    `retry_after` is the number of seconds to wait before a retry, if the service sent one.
    """

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        where = f" [{problem.field}]" if problem.field else ""
        fix = f". {problem.fix[0].upper()}{problem.fix[1:]}" if problem.fix else ""
        super().__init__(f"{problem.detail}{where}{fix}")
        self.problem = problem
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether the error is transient: too many requests, or the service is failing."""
        return self.problem.status in (408, 425, 429) or self.problem.status >= 500


class Unreachable(Exception):
    """No service of this platform answers at the address."""


def segment(name: str | int) -> str:
    """A name as one path segment; raises `ApiError` if it could lead to another path."""
    text = str(name)
    if text in ("", ".", "..") or "/" in text:
        raise ApiError(
            Problem(
                type="urn:vila2:problem:not-found",
                title="NotFound",
                status=404,
                detail=f"nothing is called {text[:200]!r}",
                fix="give the name or id of one that exists",
            )
        )
    return quote(text, safe="")


class Rest:
    """Requests to one service, sent by a user or, with `team`, by a service for that team."""

    def __init__(self, http: httpx2.Client, *, team: str | None = None) -> None:
        self._http = http
        self._headers = {"x-vila2-team": team} if team else {}
        # A service that asks another has a caller who waits, and work that is tried again.
        self._waits_for_restart = not team
        self._has_answered = False

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx2.Response:
        """Send a request; raises `ApiError` if it is refused, `Unreachable` if nothing answers.

        Honours `Retry-After`, up to `PATIENCE` seconds in all.
        """
        given = {**self._given(), **(headers or {})}
        waited = 0.0
        while True:
            response = self._until_answered(method, path, headers=given, **options)
            if response.status_code < 400:
                return response
            pause = pause_before_retry(response, waited=waited)
            if pause is None:
                raise _refusal(response, f"{method} {path}")
            time.sleep(pause)
            waited += pause

    def _until_answered(
        self, method: str, path: str, *, headers: Mapping[str, str], **options: Any
    ) -> httpx2.Response:
        """The first reply that arrives."""
        repeatable = method != "POST" or IDEMPOTENCY_KEY in headers
        pauses = iter(_PAUSES if repeatable else ())
        patient = self._has_answered and self._waits_for_restart
        restart = iter(_RESTART_PAUSES if patient else ())
        while True:
            try:
                reply = self._http.request(method, f"v1/{path}", headers=headers, **options)
                self._has_answered = True
                return reply
            except httpx2.ConnectError as error:
                pause = next(restart, None)  # nothing was sent, so that even a POST may go again
                if pause is None:
                    raise self._silence(error) from error
                time.sleep(pause)
            except _LOST as error:
                pause = next(pauses, None)
                if pause is None:
                    raise self._silence(error) from error
                time.sleep(pause)
            except httpx2.TransportError as error:
                raise self._silence(error) from error

    def _given(self) -> dict[str, str]:
        """Headers of every request: the team, the request id and the trace context."""
        within = request_id.get()
        return {**self._headers, **tracing.headers(), **({HEADER: within} if within else {})}

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """Stream a body in chunks, for data larger than memory; raises as `send` does."""
        try:
            with self._http.stream("GET", f"v1/{path}", headers=self._given()) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _refusal(response, f"GET {path}")
                yield response.iter_bytes()
        except httpx2.TransportError as error:
            raise self._silence(error) from error

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Raise `Unreachable` for a reply that is not from this platform."""
        try:
            yield
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise Unreachable(
                f"{self._http.base_url} does not answer as a platform of this version ({reason}): "
                "check the address, and with `vila2 doctor` the versions"
            ) from error

    def _silence(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"no answer from {self._http.base_url} ({error}); is `vila2 up` running?"
        )

    def one(self, model: type[M], method: str, path: str, **options: Any) -> M:
        """Send a request whose reply is one model."""
        response = self.send(method, path, **options)
        with self._understood():
            return model.model_validate(response.json())

    def create_one(
        self, model: type[M], path: str, body: BaseModel, *, token: str | None = None
    ) -> M:
        """POST to create something, once for each `token`, or else once per call."""
        headers = {IDEMPOTENCY_KEY: token or uuid.uuid4().hex}
        return self.one(model, "POST", path, json=body.model_dump(), headers=headers)

    def many(
        self, model: type[M], path: str, *, params: Mapping[str, Any] | None = None
    ) -> list[M]:
        """A whole list, over all its pages."""
        return list(self.each(model, path, params=params))

    def each(
        self,
        model: type[M],
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        page: int = PAGE,
    ) -> Iterator[M]:
        """A list, entry by entry; pages are fetched as they are needed."""
        pages: TypeAdapter[list[M]] = TypeAdapter(list[model])  # type: ignore[valid-type]
        given = {**(params or {}), "limit": page}
        while True:
            response = self.send("GET", path, params=given)
            with self._understood():
                entries = pages.validate_python(response.json())
            yield from entries
            cursor = _next_cursor(response)
            if not cursor:
                return
            given["cursor"] = cursor


def _next_cursor(response: httpx2.Response) -> str:
    """The cursor of the next page from the `Link` header; empty on the last page.

    Only the cursor is taken from it, so that no reply leads to another address.
    """
    url = response.links.get("next", {}).get("url", "")
    return parse_qs(urlsplit(url).query).get("cursor", [""])[0]


def pause_before_retry(response: httpx2.Response, *, waited: float) -> float | None:
    """Seconds to wait before a retry; `None` if there is none, or the wait would be too long.

    Random jitter is added, so that clients refused together do not retry together.
    """
    after = _retry_after(response)
    if response.status_code != 429 or after is None or waited + after > PATIENCE:
        return None
    return after + random.uniform(0, 0.1 * after)


def _retry_after(response: httpx2.Response) -> float | None:
    told = response.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() else None


def _refusal(response: httpx2.Response, what: str) -> ApiError:
    """The service's problem document, or one made from the status if the body is not one."""
    try:
        problem = Problem.model_validate(response.json())
    except ValueError:
        problem = Problem(
            type="about:blank",
            title="Error",
            status=response.status_code,
            detail=f"{what}: status {response.status_code}",
        )
    return ApiError(problem, retry_after=_retry_after(response))
