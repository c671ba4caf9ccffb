"""Requests to one service, and what a refusal looks like to a caller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter

from vila2.api.problem import Problem

TIMEOUT = httpx2.Timeout(120.0, connect=10.0)

M = TypeVar("M", bound=BaseModel)


class ApiError(Exception):
    """A request that a service refused; `problem` says which field and what to do."""

    def __init__(self, problem: Problem) -> None:
        where = f" [{problem.field}]" if problem.field else ""
        fix = f". {problem.fix[0].upper()}{problem.fix[1:]}" if problem.fix else ""
        super().__init__(f"{problem.detail}{where}{fix}")
        self.problem = problem

    @property
    def passing(self) -> bool:
        """Whether it is of the moment: too many requests, or the service itself is unwell."""
        return self.problem.status in (408, 425, 429) or self.problem.status >= 500


class Unreachable(Exception):
    """Nothing answers at a service's address."""


class Rest:
    """Requests to one service."""

    def __init__(self, http: httpx2.Client, *, team: str | None = None) -> None:
        self._http = http
        self._headers = {"x-vila2-team": team} if team else {}

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request; raises `ApiError` for a refusal, `Unreachable` for silence."""
        try:
            response = self._http.request(method, f"v1/{path}", headers=self._headers, **options)
        except httpx2.TransportError as error:
            raise self._silence(error) from error
        if response.status_code < 400:
            return response
        raise _refusal(response, f"{method} {path}")

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
    return ApiError(problem)
