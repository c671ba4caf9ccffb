"""The dataset store's routes: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.chassis.auth import Principal, require
from services.chassis.errors import NotFound
from services.datasets.context import DatasetsContext
from vila2.api import datasets as api

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("datasets:read"))]
Writer = Annotated[Principal, Depends(require("datasets:write"))]
CaptionReader = Annotated[Principal, Depends(require("captions:read"))]
CaptionWriter = Annotated[Principal, Depends(require("captions:write"))]


def _context(request: Request) -> DatasetsContext:
    context: DatasetsContext = request.app.state.context
    return context


Context = Annotated[DatasetsContext, Depends(_context)]


@router.post("/datasets", summary="Create a dataset", status_code=201)
def create_dataset(body: api.DatasetIn, caller: Writer, context: Context) -> api.Dataset:
    """Create a dataset, or return it where it exists with the same kind."""
    return context.versions.create_dataset(caller.team, body)


@router.get("/datasets", summary="List datasets")
def list_datasets(caller: Reader, context: Context) -> list[api.Dataset]:
    """The team's datasets."""
    return context.versions.list_datasets(caller.team)


@router.post("/datasets/{name}/versions", summary="Open a version", status_code=201)
def create_version(name: str, body: api.VersionIn, caller: Writer, context: Context) -> api.Version:
    """Open a version to upload parts to; a known token continues its version."""
    return context.versions.create_version(caller.team, name, body)


@router.put("/datasets/{name}/versions/{number}/parts/{part}", summary="Upload a part")
async def put_part(
    name: str, number: int, part: int, request: Request, caller: Writer, context: Context
) -> api.Version:
    """Upload one tar of raw samples; uploading a part again changes nothing."""
    from starlette.concurrency import run_in_threadpool

    data = await request.body()
    return await run_in_threadpool(context.versions.put_part, caller.team, name, number, part, data)


@router.post("/datasets/{name}/versions/{number}/seal", summary="Seal", status_code=202)
def seal_version(name: str, number: int, caller: Writer, context: Context) -> api.Version:
    """Close the version for uploads and ingest it."""
    sealed = context.versions.seal(caller.team, name, number)
    context.worker.nudge()
    return sealed


@router.get("/datasets/{name}/versions/{number}", summary="A version")
def get_version(name: str, number: int, caller: Reader, context: Context) -> api.Version:
    """State, counts and progress; number 0 is the newest ready version."""
    return context.versions.version(caller.team, name, number)


@router.get("/datasets/{name}/versions/{number}/shards", summary="Shards of a version")
def list_shards(name: str, number: int, caller: Reader, context: Context) -> list[api.Shard]:
    """Where the version's tars lie."""
    return context.versions.shards(caller.team, name, number)


@router.get("/datasets/{name}/versions/{number}/rejected", summary="Rejected samples")
def list_rejected(
    name: str, number: int, caller: Reader, context: Context
) -> list[api.RejectedExample]:
    """Examples of every reason for which samples were not admitted."""
    return context.versions.rejected(caller.team, name, number)


@router.get("/datasets/{name}/versions/{number}/shards/{index}/content", summary="A shard's tar")
def shard_content(name: str, number: int, index: int, caller: Reader, context: Context) -> Response:
    """The tar itself."""
    shards = context.versions.shards(caller.team, name, number)
    if not 0 <= index < len(shards):
        raise NotFound(f"version has no shard {index}", field="index")
    return Response(context.objects.get(shards[index].object_key), media_type="application/x-tar")


@router.post("/layers", summary="Open a caption layer", status_code=201)
def open_layer(body: api.LayerIn, caller: CaptionWriter, context: Context) -> api.Layer:
    """Open a layer over a ready version; a known token returns its layer."""
    return context.layers.open(caller.team, body)


@router.get("/layers", summary="List layers")
def list_layers(caller: CaptionReader, context: Context) -> list[api.Layer]:
    """The team's layers."""
    return context.layers.of_team(caller.team)


@router.post("/layers/import", summary="Import captions as a layer", status_code=201)
def import_layer(body: api.LayerImport, caller: CaptionWriter, context: Context) -> api.Layer:
    """Match another dataset's captions to this one's pictures by digest."""
    return context.layers.import_captions(caller.team, body)


@router.get("/layers/{layer}", summary="A layer")
def get_layer(layer: str, caller: CaptionReader, context: Context) -> api.Layer:
    """A layer by id, or the newest sealed one of that name."""
    return context.layers.get(caller.team, layer)


@router.put("/layers/{layer}/shards/{number}", summary="Record a shard's captions")
def put_layer_shard(
    layer: str, number: int, body: api.LayerShardIn, caller: CaptionWriter, context: Context
) -> api.Layer:
    """Record where the captions of one shard lie; every sample must be accounted for."""
    return context.layers.put_shard(caller.team, layer, number, body)


@router.post("/layers/{layer}/seal", summary="Seal a layer")
def seal_layer(layer: str, caller: CaptionWriter, context: Context) -> api.Layer:
    """Make a complete layer immutable."""
    return context.layers.seal(caller.team, layer)


@router.get("/layers/{layer}/shards/{number}/content", summary="A layer shard's Parquet")
def layer_content(
    layer: str, number: int, caller: CaptionReader, context: Context, waive: bool = False
) -> Response:
    """The captions of one shard; those of an unsealed layer need `waive=true`."""
    from services.chassis.errors import Conflict

    held = context.layers.get(caller.team, layer)
    if held.state != "sealed" and not waive:
        raise Conflict(f"layer {layer} is not sealed", fix="wait until it is")
    if not 0 <= number < len(held.shards) or not held.shards[number]:
        raise NotFound(f"layer {layer} has no shard {number} yet", field="number")
    data = context.objects.get(held.shards[number])
    return Response(data, media_type="application/vnd.apache.parquet")
