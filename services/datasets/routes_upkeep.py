"""The dataset store's routes that delete, thin out and measure: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.chassis.web.errors import Forbidden
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.key_then_body import takes_body
from services.chassis.web.numbers import Number
from services.chassis.web.paging import Paged
from services.chassis.web.started import Started
from services.datasets.context import DatasetsContext
from services.datasets.routes import Context, Reader, Writer
from services.identity.require_scope import PLATFORM_ADMIN, Principal
from vila2.schemas.rest import dataset_upkeep as api
from vila2.schemas.rest.datasets import Version

router = APIRouter(prefix="/v1")
# Not 0, the version in use: a repeated request would delete another one.
Numbered = Annotated[int, Path(ge=1, le=2**31 - 1)]
Asked = Annotated[api.DeletionIn, Query()]


@router.delete("/datasets/{name}", summary="Delete a dataset", status_code=202)
def delete_dataset(
    name: str,
    caller: Writer,
    asked: Asked,
    context: Context,
    started: Started,
) -> api.Deletion:
    """Delete a dataset with all its versions. Refused as for a version."""
    return _deleted(caller, context, started, name, None, asked)


@router.delete("/datasets/{name}/versions/{number}", summary="Delete a version", status_code=202)
def delete_version(
    name: str,
    number: Numbered,
    caller: Writer,
    asked: Asked,
    context: Context,
    started: Started,
) -> api.Deletion:
    """Delete a version with its uploads, and the shards that no other version has.

    Refused with the names of what needs it: caption layers, caption jobs, unfinished runs and
    models trained on it. Its number is not used again. Repeating the request has no effect.
    """
    return _deleted(caller, context, started, name, number, asked)


@router.get("/deletions", summary="List deletions")
def list_deletions(caller: Reader, context: Context, page: Paged) -> list[api.Deletion]:
    """The team's deletions, newest first."""
    return context.deletions.of_team(caller.team, page)


@router.get("/deletions/{deletion}", summary="Get a deletion")
def get_deletion(deletion: str, caller: Reader, context: Context) -> api.Deletion:
    """The deletion's state, and the bytes that it has freed so far."""
    return context.deletions.get(caller.team, deletion)


@router.post(
    "/datasets/{name}/versions/{number}/exclude", summary="Exclude samples", status_code=202
)
@takes_body("data")
def exclude_samples(
    name: str,
    number: Number,
    body: api.ExcludeIn,
    caller: Writer,
    context: Context,
    started: Started,
    key: IdempotencyKey,
) -> Version:
    """Make a new version without these samples. The version itself is not changed.

    Shards that hold none of them are shared. Number 0 is the version in use.
    """
    made = context.exclusions.start(caller, name, number, body, key)
    started.tell(f"datasets/{made.dataset}/versions/{made.version}")
    context.worker.nudge()
    return made


@router.get("/usage", summary="Get storage usage")
def get_usage(caller: Reader, context: Context) -> api.StorageUsage:
    """Bytes that the caller's team stores, by dataset and version, and its quota."""
    return context.usage.of_team(caller.team)


@router.get("/garbage", summary="Find garbage")
def get_garbage(caller: Reader, context: Context) -> api.Garbage:
    """Abandoned uploads, and objects that no row refers to. Nothing is deleted."""
    return context.garbage.find(caller, unowned=PLATFORM_ADMIN in caller.scopes)


@router.delete("/garbage", summary="Collect garbage")
def collect_garbage(caller: Writer, context: Context) -> api.Garbage:
    """Delete what `GET /v1/garbage` finds. Objects of no team require `platform:admin`."""
    found = context.garbage.collect(caller, unowned=PLATFORM_ADMIN in caller.scopes)
    context.worker.nudge()
    return found


def _deleted(
    caller: Principal,
    context: DatasetsContext,
    started: Started,
    name: str,
    number: int | None,
    asked: api.DeletionIn,
) -> api.Deletion:
    if asked.with_layers and "captions:write" not in caller.scopes:
        raise Forbidden(
            "this key lacks the scope 'captions:write'",
            field="with_layers",
            fix="ask for a key with it",
        )
    deletion = context.deletions.start(caller, name, number, asked)
    started.tell(f"deletions/{deletion.id}")
    context.worker.nudge()
    return deletion
