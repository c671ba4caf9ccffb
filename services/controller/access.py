"""Shared dependencies of the controller's routes: the caller and the service's objects."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from services.controller.context import ControllerContext
from services.identity.require_scope import Principal, require

Reader = Annotated[Principal, Depends(require("runs:read"))]
Writer = Annotated[Principal, Depends(require("runs:write"))]


def _context(request: Request) -> ControllerContext:
    context: ControllerContext = request.app.state.context
    return context


Context = Annotated[ControllerContext, Depends(_context)]
