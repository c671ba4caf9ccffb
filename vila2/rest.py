"""Requests to one service, and what a refusal looks like to a caller."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter

from vila2.api.problem import Problem

TIMEOUT = httpx2.Timeout(120.0, connect=10.0)
# Seconds that a request waits where a service says `429` and when to come back. A limit of requests
# per minute is over by then; a quota of the day is not, and is told at once.
PATIENCE = 90.0

M = TypeVar("M", bound=BaseModel)


class ApiError(Exception):
    """A request that a service refused; `problem` says which field and what to do.

    `retry_after` is the number of seconds after which the service would take it, where it said so.
    """

    def __init__(self, problem: Problem, *, retry_after: float | None = None) -> None:
        where = f" [{problem.field}]" if problem.field else ""
        fix = f". {problem.fix[0].upper()}{problem.fix[1:]}" if problem.fix else ""
        super().__init__(f"{problem.detail}{where}{fix}")
        self.problem = problem
        self.retry_after = retry_after


class Unreachable(Exception):
    """Nothing answers at a service's address."""


class Rest:
    """Requests to one service."""

    def __init__(self, http: httpx2.Client, *, team: str | None = None) -> None:
        self._http = http
        self._headers = {"x-vila2-team": team} if team else {}

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request; raises `ApiError` for a refusal, `Unreachable` for silence.

        A service that asks to come back later is waited for, up to `PATIENCE` in all.
        """
        waited = 0.0
        while True:
            try:
                response = self._http.request(
                    method, f"v1/{path}", headers=self._headers, **options
                )
            except httpx2.TransportError as error:
                raise self._silence(error) from error
            if response.status_code < 400:
                return response
            pause = pause_before_retry(response, waited=waited)
            if pause is None:
                raise _refusal(response, f"{method} {path}")
            time.sleep(pause)
            waited += pause

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[bytes]]:
        """A body piece by piece, for what does not fit into memory; raises as `send` does."""
        try:
            with self._http.stream("GET", f"v1/{path}", headers=self._headers) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _refusal(response, f"GET {path}")
                yield response.iter_bytes()
        except httpx2.TransportError as error:
            raise self._silence(error) from error

    def _silence(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"no answer from {self._http.base_url} ({error}); is `vila2 up` running?"
        )

    def one(self, model: type[M], method: str, path: str, **options: Any) -> M:
        """A request that answers with one model."""
        return model.model_validate(self.send(method, path, **options).json())

    def many(self, model: type[M], path: str, **options: Any) -> list[M]:
        """A request that answers with a list."""
        found: list[M] = TypeAdapter(list[model]).validate_python(  # type: ignore[valid-type]
            self.send("GET", path, **options).json()
        )
        return found


def pause_before_retry(response: httpx2.Response, *, waited: float) -> float | None:
    """Seconds to wait before a request is sent again; `None`: it is refused, or asks for too long.

    A little is added by chance, so that those who were refused together do not return together.
    """
    after = _retry_after(response)
    if response.status_code != 429 or after is None or waited + after > PATIENCE:
        return None
    return after + random.uniform(0, 0.1 * after)


def _retry_after(response: httpx2.Response) -> float | None:
    told = response.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() else None


def _refusal(response: httpx2.Response, what: str) -> ApiError:
    """What a service said, or its status where it said nothing that we know."""
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
