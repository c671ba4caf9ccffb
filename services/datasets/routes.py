"""The dataset store's routes for datasets and versions: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from services.chassis.web.contents import answers, declared_bytes, received, streamed, takes
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.key_then_body import takes_body
from services.chassis.web.numbers import Number
from services.chassis.web.paging import Paged
from services.chassis.web.started import Started
from services.datasets.context import DatasetsContext
from services.datasets.versions.content import index_bytes, shard_tar
from services.datasets.versions.uploads import Piece
from services.identity.require_scope import Principal, require
from vila2.schemas.rest import datasets as api

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("datasets:read"))]
Writer = Annotated[Principal, Depends(require("datasets:write"))]
QuotaReader = Annotated[Principal, Depends(require("quotas:read"))]


def context_of(request: Request) -> DatasetsContext:
    """The service's long-lived objects."""
    context: DatasetsContext = request.app.state.context
    return context


Context = Annotated[DatasetsContext, Depends(context_of)]


@router.post("/datasets", summary="Create a dataset", status_code=201)
def create_dataset(body: api.DatasetIn, caller: Writer, context: Context) -> api.Dataset:
    """Create a dataset, or return the existing one if it has the same kind."""
    return context.versions.create_dataset(caller.team, body)


@router.get("/datasets", summary="List datasets")
def list_datasets(
    caller: Reader, context: Context, page: Paged, query: str = ""
) -> list[api.Dataset]:
    """The team's datasets whose names contain `query`, sorted by name."""
    return context.versions.list_datasets(caller.team, page, query=query)


@router.get("/datasets/{name}", summary="Get a dataset")
def get_dataset(name: str, caller: Reader, context: Context) -> api.Dataset:
    """The dataset's kind and the version in use."""
    return context.versions.dataset(caller.team, name)


@router.post("/datasets/{name}/use", summary="Choose the version in use")
def use_version(name: str, body: api.LatestIn, caller: Writer, context: Context) -> api.Dataset:
    """Choose the version that the dataset's name refers to. The change is added to the history."""
    return context.versions.use(caller, name, body)


@router.post("/datasets/{name}/versions", summary="Open a version", status_code=201)
def create_version(
    name: str, body: api.VersionIn, caller: Writer, context: Context, key: IdempotencyKey
) -> api.Version:
    """Open a version for uploads. The same idempotency key returns the same version."""
    return context.versions.create_version(caller.team, name, body, key)


@router.get("/datasets/{name}/versions/{number}/uploads", summary="List uploads")
def list_uploads(
    name: str, number: Number, caller: Reader, context: Context, page: Paged
) -> list[api.Upload]:
    """The pieces stored so far. A client resumes an interrupted upload by sending the others."""
    return context.uploads.of_version(caller.team, name, number, page)


@router.put(
    "/datasets/{name}/versions/{number}/parts/{part}",
    summary="Upload a part",
    **takes("application/x-tar"),
)
@takes_body("upload")
async def put_part(
    name: str, number: Number, part: Number, request: Request, caller: Writer, context: Context
) -> api.Version:
    """Upload one tar of raw samples. Uploading the same part again has no effect."""
    piece = Piece(caller.team, name, number, "", part)
    await run_in_threadpool(context.uploads.expect, piece, declared_bytes(request))
    async with received(request, context.spool) as body:
        await run_in_threadpool(context.uploads.put_part, piece, body)
    return await run_in_threadpool(context.versions.version, caller.team, name, number)


@router.put(
    "/datasets/{name}/versions/{number}/files/{file:path}/pieces/{piece}",
    summary="Upload a piece of a file",
    **takes("application/octet-stream"),
)
@takes_body("upload")
async def put_piece(
    name: str,
    number: Number,
    file: str,
    piece: Number,
    request: Request,
    caller: Writer,
    context: Context,
) -> api.Version:
    """Upload a piece (numbered from 0) of a file to a version that was opened with a format."""
    sent = Piece(caller.team, name, number, file, piece)
    await run_in_threadpool(context.uploads.expect, sent, declared_bytes(request))
    async with received(request, context.spool) as body:
        await run_in_threadpool(context.uploads.put_piece, sent, body)
    return await run_in_threadpool(context.versions.version, caller.team, name, number)


@router.post("/datasets/{name}/versions/{number}/seal", summary="Seal a version", status_code=202)
def seal_version(
    name: str, number: Number, caller: Writer, context: Context, started: Started
) -> api.Version:
    """Close the version to uploads and ingest it."""
    sealed = context.versions.seal(caller.team, name, number)
    started.tell(f"datasets/{sealed.dataset}/versions/{sealed.version}")
    context.worker.nudge()
    return sealed


@router.get("/datasets/{name}/versions/{number}", summary="Get a version")
def get_version(name: str, number: Number, caller: Reader, context: Context) -> api.Version:
    """The version's state, counts and progress. Number 0 is the version in use."""
    return context.versions.version(caller.team, name, number)


@router.get("/datasets/{name}/versions/{number}/shards", summary="List a version's shards")
def list_shards(
    name: str, number: Number, caller: Reader, context: Context, page: Paged
) -> list[api.Shard]:
    """The version's shards in order, with the locations of their tars."""
    return context.versions.shards(caller.team, name, number, page)


@router.get("/datasets/{name}/versions/{number}/shards/{index}", summary="Get a shard")
def get_shard(
    name: str, number: Number, index: Number, caller: Reader, context: Context
) -> api.Shard:
    """One shard and the current location of its tar."""
    return context.versions.shard(caller.team, name, number, index)


@router.get("/datasets/{name}/versions/{number}/rejected", summary="List rejected samples")
def list_rejected(
    name: str, number: Number, caller: Reader, context: Context, page: Paged
) -> list[api.RejectedExample]:
    """Examples of rejected samples for each reason."""
    return context.versions.rejected(caller.team, name, number, page)


@router.get(
    "/datasets/{name}/versions/{number}/shards/{index}/content",
    summary="Download a shard",
    **answers("application/x-tar"),
)
def get_shard_content(
    name: str, number: Number, index: Number, caller: Reader, context: Context
) -> Response:
    """The shard's tar. For a tar registered in place, it contains only the admitted samples."""
    found = context.versions.shard(caller.team, name, number, index)
    version = context.versions.version(caller.team, name, number)
    tar = shard_tar(context.objects, f"{name}@{version.version}", found, context.spool)
    return streamed(tar, media_type="application/x-tar")


@router.get(
    "/datasets/{name}/versions/{number}/shards/{index}/index",
    summary="Download a shard's index",
    **answers("application/vnd.apache.parquet"),
)
def get_shard_index(
    name: str, number: Number, index: Number, caller: Reader, context: Context
) -> Response:
    """The shard's samples without images, and the images' offsets in the tar, as Parquet."""
    found = context.versions.shard(caller.team, name, number, index)
    version = context.versions.version(caller.team, name, number)
    named = f"{name}@{version.version}"
    data = index_bytes(context.objects, named, found.index, found.index_key)
    return Response(data, media_type="application/vnd.apache.parquet")


@router.get("/datasets/{name}/versions/{number}/samples/{key}", summary="Get a sample's lineage")
def get_lineage(
    name: str, number: Number, key: str, caller: Reader, context: Context
) -> api.Lineage:
    """The sample's image and source, its captions, and the models trained on them."""
    return context.reading.lineage(caller.team, name, number, key)


@router.get(
    "/datasets/{name}/versions/{number}/samples/{key}/image",
    summary="Get a sample's image",
    **answers("image/*"),
)
def get_image(name: str, number: Number, key: str, caller: Reader, context: Context) -> Response:
    """The image as it was submitted, in its own format."""
    data, extension = context.reading.image(caller.team, name, number, key)
    kind = {"jpg": "jpeg", "tif": "tiff"}.get(extension, extension)
    headers = {"x-content-type-options": "nosniff", "cache-control": "private, max-age=3600"}
    return Response(data, media_type=f"image/{kind}", headers=headers)


@router.post("/datasets/{name}/versions/{number}/audit", summary="Audit a version", status_code=202)
def start_audit(
    name: str,
    number: Number,
    body: api.AuditIn,
    caller: Writer,
    context: Context,
    started: Started,
) -> api.Audit:
    """Search a version for near-duplicates and for benchmark images."""
    audit = context.audits.start(caller.team, name, number, body)
    started.tell(f"datasets/{audit.dataset}/versions/{audit.version}/audit")
    context.worker.nudge()
    return audit


@router.get("/datasets/{name}/versions/{number}/audit", summary="Get an audit")
def get_audit(name: str, number: Number, caller: Reader, context: Context) -> api.Audit:
    """The audit's progress and findings."""
    return context.audits.get(caller.team, name, number)


@router.post("/takedowns", summary="Take an image down", status_code=202)
def start_takedown(
    body: api.TakedownIn, caller: Writer, context: Context, started: Started
) -> api.Takedown:
    """Remove an image from every version, layer and future export. The record is kept."""
    takedown = context.takedowns.start(caller, body)
    started.tell(f"takedowns/{takedown.id}")
    context.worker.nudge()
    return takedown


@router.get("/takedowns", summary="List takedowns")
def list_takedowns(caller: Reader, context: Context, page: Paged) -> list[api.Takedown]:
    """The team's takedowns, newest first."""
    return context.takedowns.of_team(caller.team, page)


@router.get("/takedowns/{takedown}", summary="Get a takedown")
def get_takedown(takedown: str, caller: Reader, context: Context) -> api.Takedown:
    """The takedown's state, progress and effects."""
    return context.takedowns.get(caller.team, takedown)


@router.get("/history", summary="List changes to the data in use")
def list_history(caller: Reader, context: Context, page: Paged) -> list[api.HistoryEntry]:
    """Versions chosen, and layers withdrawn or restored, with the key used; newest first."""
    return context.history.of_team(caller.team, page)


@router.get("/quota", summary="Get the caller's storage quota")
def get_own_quota(caller: Reader, context: Context) -> api.StorageQuota:
    """Bytes that the caller's team stores, and its limit."""
    return context.storage.get(caller.team)


@router.get("/quotas/{team}", summary="Get a team's storage quota")
def get_quota(team: str, caller: QuotaReader, context: Context) -> api.StorageQuota:
    """Bytes that any team stores, and its limit. Requires `quotas:read`."""
    return context.storage.get(team)
