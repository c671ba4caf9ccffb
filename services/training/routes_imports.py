"""Routes for adding models from elsewhere to the registry: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.concurrency import run_in_threadpool

from services.chassis.web.contents import received, takes
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.key_then_body import takes_body
from services.chassis.web.started import Started
from services.training.registry.model_use import check_unused
from services.training.routes import Context, Reader, Writer
from vila2.schemas.rest import model_imports as api
from vila2.schemas.rest.training import RegisteredModel

router = APIRouter(prefix="/v1")
Piece = Annotated[int, Path(ge=0, le=2**31 - 1)]


@router.post("/models", summary="Add a model", status_code=202)
@takes_body("data")
def add_model(
    body: api.ModelIn, caller: Writer, context: Context, started: Started, key: IdempotencyKey
) -> api.ModelImport:
    """Begin to add a model: from uploaded weights, an object store, or an endpoint.

    For uploaded weights, send the pieces next, then finish the import. The model is registered once
    it has answered a question about a test image.
    """
    made = context.model_imports.start(caller.team, body, key)
    started.tell(f"model-imports/{made.id}")
    context.importer.nudge()
    return made


@router.delete("/models/{name}", summary="Remove a model")
def remove_model(name: str, caller: Writer, context: Context) -> RegisteredModel:
    """Delete the files of a model that was added and is not in use; its entry stays.

    Refused while an endpoint answers with it or a caption job uses it.
    """
    model = context.registry.get(caller.team, name)
    check_unused(context.platform(caller.team).caption, model.name)
    return context.added.remove(caller.team, model.name)


@router.get("/model-imports/{id}", summary="Get a model import")
def get_model_import(id: str, caller: Reader, context: Context) -> api.ModelImport:
    """The import's state, and the pieces that are still to be uploaded."""
    return context.model_imports.get(caller.team, id)


@router.put(
    "/model-imports/{id}/files/{file}/pieces/{piece}",
    summary="Upload a piece of a model's file",
    **takes("application/octet-stream"),
)
@takes_body("upload")
async def put_model_piece(
    id: str, file: str, piece: Piece, request: Request, caller: Writer, context: Context
) -> api.ModelImport:
    """Upload a piece: 64 MiB, or the remainder for the last one. Repeating it has no effect."""
    imports = context.model_imports
    await run_in_threadpool(imports.expect, caller.team, id, file, piece)
    async with received(request, context.spool) as body:
        await run_in_threadpool(imports.put_piece, caller.team, id, file, piece, body)
    return await run_in_threadpool(imports.get, caller.team, id)


@router.post("/model-imports/{id}/finish", summary="Finish a model import", status_code=202)
def finish_model_import(
    id: str, caller: Writer, context: Context, started: Started
) -> api.ModelImport:
    """Check the uploaded files, test the model, and register it."""
    made = context.model_imports.finish(caller.team, id)
    started.tell(f"model-imports/{made.id}")
    context.importer.nudge()
    return made
