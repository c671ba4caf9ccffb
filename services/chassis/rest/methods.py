"""The `Allow` header of a 405: every method that the path has, in whichever route."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.routing import compile_path

from services.chassis.errors import problem_response
from services.chassis.rest.openapi import operations
from vila2.api.problem import Problem


def methods_of(app: FastAPI, path: str) -> list[str]:
    """Methods that some documented route takes at `path`, in alphabetical order.

    The router names those of the first route that fits, and a path may have a route per method. A
    path that is spelt out is not also one in which a name happens to be the same.
    """
    known = {template for template, _, _ in operations(app.openapi())}
    fitting = {path} & known or {t for t in known if compile_path(t)[0].fullmatch(path)}
    return sorted(
        method.upper() for template, method, _ in operations(app.openapi()) if template in fitting
    )


def add_allow(app: FastAPI) -> None:
    """Answer 405 as a problem that names the methods there are."""

    @app.exception_handler(405)
    def _wrong_method(request: Request, _: Exception) -> JSONResponse:
        root = request.scope.get("root_path", "")
        allowed = ", ".join(methods_of(app, request.scope["path"].removeprefix(root)))
        return problem_response(
            Problem(
                type="urn:vila2:problem:method-not-allowed",
                title="MethodNotAllowed",
                status=405,
                detail=f"this path does not take {request.method}",
                fix=f"use {allowed}",
            ),
            {"Allow": allowed},
        )
