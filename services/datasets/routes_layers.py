"""The dataset store's routes for caption layers and exports: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from services.chassis.storage.intact import intact_local, stored_captions
from services.chassis.web.contents import answers, received, streamed, takes
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.key_then_body import takes_body
from services.chassis.web.numbers import Number
from services.chassis.web.paging import Paged
from services.datasets.routes import Context, Reader
from services.identity.require_scope import Principal, require
from vila2.schemas.rest import datasets as api

router = APIRouter(prefix="/v1")
CaptionReader = Annotated[Principal, Depends(require("captions:read"))]
CaptionWriter = Annotated[Principal, Depends(require("captions:write"))]


@router.post("/layers", summary="Open a caption layer", status_code=201)
def open_layer(
    body: api.LayerIn, caller: CaptionWriter, context: Context, key: IdempotencyKey
) -> api.Layer:
    """Open a layer for a ready version."""
    return context.layers.open(caller.team, body, key)


@router.get("/layers", summary="List layers")
def list_layers(caller: CaptionReader, context: Context, page: Paged) -> list[api.Layer]:
    """The team's layers, oldest first."""
    return context.layers.of_team(caller.team, page)


@router.post("/layers/import", summary="Import captions as a layer", status_code=201)
def import_layer(body: api.LayerImport, caller: CaptionWriter, context: Context) -> api.Layer:
    """Create a layer from another dataset's captions, matched by image digest."""
    return context.imports.run(caller.team, body)


@router.post(
    "/datasets/{name}/versions/{number}/captions",
    summary="Import captions of a file as a layer",
    status_code=201,
    **takes("application/vnd.apache.parquet"),
)
@takes_body("upload")
async def import_captions(
    name: str,
    number: Number,
    request: Request,
    asked: Annotated[api.CaptionFileIn, Query()],
    caller: CaptionWriter,
    context: Context,
) -> api.CaptionFile:
    """Create a sealed layer from Parquet with the text columns `key` and `caption`.

    A key is a sample's key, or an id, path or address of its source. An optional column `row` is
    what refusals and examples call a row. The same captions and query return the same layer.
    """
    async with received(request, context.spool) as body:
        return await run_in_threadpool(
            context.imports.of_file, caller.team, name, number, asked, body.path
        )


@router.get("/layers/{layer}", summary="Get a layer")
def get_layer(layer: str, caller: CaptionReader, context: Context) -> api.Layer:
    """The layer with this id, or the newest sealed layer with this name."""
    return context.layers.get(caller.team, layer)


@router.get("/layers/{layer}/shards", summary="List a layer's shards")
def list_layer_shards(
    layer: str, caller: CaptionReader, context: Context, page: Paged
) -> list[api.LayerShard]:
    """The recorded shards in order, with the locations of their captions."""
    return context.layers.shards(caller.team, layer, page)


@router.put("/layers/{layer}/shards/{number}", summary="Record a shard's captions")
def put_layer_shard(
    layer: str, number: Number, body: api.LayerShardIn, caller: CaptionWriter, context: Context
) -> api.Layer:
    """Record the location of a shard's captions. Every sample must be captioned or quarantined."""
    shard = api.LayerShard(number=number, **body.model_dump())
    return context.layers.put_shards(caller.team, layer, [shard])


@router.put("/layers/{layer}/shards", summary="Record several shards' captions")
def put_layer_shards(
    layer: str,
    body: Annotated[list[api.LayerShard], Body(min_length=1, max_length=1000)],
    caller: CaptionWriter,
    context: Context,
) -> api.Layer:
    """Record the locations of several shards' captions, all or none. Recorded shards are kept."""
    return context.layers.put_shards(caller.team, layer, body)


@router.post("/layers/{layer}/seal", summary="Seal a layer")
def seal_layer(layer: str, caller: CaptionWriter, context: Context) -> api.Layer:
    """Make a layer immutable. All its shards must be recorded."""
    return context.layers.seal(caller.team, layer)


@router.post("/layers/{layer}/withdraw", summary="Withdraw a layer")
def withdraw_layer(
    layer: str, body: api.ReasonIn, caller: CaptionWriter, context: Context
) -> api.Layer:
    """Take a sealed layer out of use. Its name then refers to the previous layer of that name."""
    return context.layers.withdraw(caller, layer, body.reason)


@router.post("/layers/{layer}/restore", summary="Restore a layer")
def restore_layer(
    layer: str, body: api.ReasonIn, caller: CaptionWriter, context: Context
) -> api.Layer:
    """Put a withdrawn layer back into use. The change is added to the history."""
    return context.layers.restore(caller, layer, body.reason)


@router.get("/layers/{layer}/diff", summary="Compare two layers")
def diff_layers(
    layer: str,
    against: str,
    caller: CaptionReader,
    context: Context,
    first: Annotated[int, Query(ge=0, description="Continue from this shard.")] = 0,
    examples: Annotated[int, Query(ge=0, le=100)] = 10,
) -> api.LayerDiff:
    """Differences between layer `against` and this one, over the next shards that both have."""
    return context.reading.diff(caller.team, layer, against, first=first, examples=examples)


@router.get(
    "/layers/{layer}/shards/{number}/content",
    summary="Download a layer shard",
    **answers("application/vnd.apache.parquet"),
)
def get_layer_content(
    layer: str, number: Number, caller: CaptionReader, context: Context, export: str = ""
) -> Response:
    """One shard's captions as Parquet. An unsealed layer requires an export with a waiver."""
    held = context.layers.get(caller.team, layer)
    context.exports.check_readable(caller.team, held, export)
    shard = context.layers.shard(caller.team, held.id, number)
    stored = stored_captions(held.id, number, shard.object_key, shard.sha256)
    captions = intact_local(context.objects, shard.object_key, stored)
    return streamed(captions.open("rb"), media_type="application/vnd.apache.parquet")


@router.post("/exports", summary="Begin an export", status_code=201)
def begin_export(
    body: api.ExportIn, caller: Reader, context: Context, key: IdempotencyKey
) -> api.Export:
    """Record an export. A layer that is not sealed is rejected unless `waiver` gives a reason."""
    return context.exports.begin(caller, body, key)


@router.get("/exports", summary="List exports")
def list_exports(caller: Reader, context: Context, page: Paged) -> list[api.Export]:
    """The team's exports, newest first."""
    return context.exports.of_team(caller.team, page)
