"""The audit log's route."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from services.chassis.web.numbers import Moment
from services.identity.audit import Wanted
from services.identity.identity import Identity
from services.identity.require_scope import Principal, identity_of, require
from vila2.schemas.rest import identity as api

router = APIRouter(prefix="/v1")


@router.get("/audit", summary="List the audit log")
def list_audit(
    caller: Annotated[Principal, Depends(require("identity:read"))],
    held: Annotated[Identity, Depends(identity_of)],
    team: Annotated[
        str, Query(description="Empty: the caller's team; all teams for the admin.")
    ] = "",
    key: Annotated[str, Query(description="A key's prefix.")] = "",
    user: str = "",
    service: str = "",
    method: str = "",
    status: Annotated[int | None, Query(ge=100, le=599)] = None,
    path: Annotated[str, Query(description="Part of the path, such as a run's id.")] = "",
    since: Moment | None = None,
    until: Moment | None = None,
    cursor: Annotated[str, Query(description="`next` of the previous page.")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> api.AuditPage:
    """Requests to all services that changed something or were refused, newest first."""
    wanted = Wanted(team, key, user, service, method, status, path, since, until)
    return held.audit.page(caller, wanted, cursor=cursor, limit=limit)
