"""The model registry's routes: parse, call, return."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from services.chassis.web.contents import answers
from services.chassis.web.key_then_body import takes_body
from services.chassis.web.paging import Paged
from services.training.routes import Context, Reader, Writer
from vila2.schemas.rest import training as api

router = APIRouter(prefix="/v1")


@router.get("/models", summary="List models")
def list_models(caller: Reader, context: Context, page: Paged) -> list[api.RegisteredModel]:
    """The team's models, oldest first."""
    return context.registry.of_team(caller.team, page)


@router.get("/models/{name}", summary="Get a model")
def get_model(name: str, caller: Reader, context: Context) -> api.RegisteredModel:
    """The model's digest, parent, training job and training data."""
    return context.registry.get(caller.team, name)


@router.get("/models/{name}/details", summary="Get a model's details")
def get_model_details(name: str, caller: Reader, context: Context) -> api.ModelDetails:
    """The model with its files, lineage, configuration and scores."""
    return context.registry.details(caller.team, name)


@router.get("/models/{name}/card", summary="Get a model card", **answers("text/markdown"))
def get_model_card(name: str, caller: Reader, context: Context) -> Response:
    """The current model card as Markdown with a YAML header."""
    return Response(context.registry.card(caller.team, name), media_type="text/markdown")


@router.get(
    "/models/{name}/files/{file}",
    summary="Download a model file",
    **answers("application/octet-stream"),
)
def get_model_file(name: str, file: str, caller: Reader, context: Context) -> FileResponse:
    """Weights, configuration or tokenizer. `details` lists the files with their digests."""
    path = context.registry.file(caller.team, name, file)
    return FileResponse(path, media_type="application/octet-stream")


@router.post("/models/{name}/imports", summary="Import scores")
@takes_body("data")
def import_scores(name: str, body: api.ImportIn, caller: Writer, context: Context) -> api.Imported:
    """Add scores computed by another program. They are stored with the name of their source."""
    return context.imports.add(caller.team, name, body)


@router.get(
    "/models/{name}/imports/{imported}/outcomes",
    summary="Get an import's outcomes",
    **answers("application/jsonl"),
)
def get_imported_outcomes(
    name: str, imported: str, caller: Reader, context: Context
) -> FileResponse:
    """The model's imported answers as JSON Lines."""
    path = context.imports.outcomes(caller.team, name, imported)
    return FileResponse(path, media_type="application/jsonl")


@router.get("/models/{name}/serving", summary="List a model's endpoints")
def get_serving(name: str, caller: Reader, context: Context) -> api.Serving:
    """Endpoints that serve the model, and those that would roll back to it."""
    context.registry.get(caller.team, name)
    endpoints = context.platform(caller.team).caption.endpoints()
    return api.Serving(
        endpoints=[endpoint.name for endpoint in endpoints if endpoint.model == name],
        standby=[endpoint.name for endpoint in endpoints if endpoint.previous == name],
    )
