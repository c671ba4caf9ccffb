"""The model registry's routes: parse, call, return."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from services.chassis.web.contents import answers
from services.chassis.web.middleware import takes_body
from services.chassis.web.paging import Paged
from services.training.routes import Context, Reader, Writer
from vila2.schemas.rest import training as api

router = APIRouter(prefix="/v1")


@router.get("/models", summary="List models")
def list_models(caller: Reader, context: Context, page: Paged) -> list[api.RegisteredModel]:
    """The team's models, oldest first."""
    return context.registry.of_team(caller.team, page)


@router.get("/models/{name}", summary="A model")
def get_model(name: str, caller: Reader, context: Context) -> api.RegisteredModel:
    """Digest, parent, job and the data it was trained on."""
    return context.registry.get(caller.team, name)


@router.get("/models/{name}/details", summary="All that is known of a model")
def get_model_details(name: str, caller: Reader, context: Context) -> api.ModelDetails:
    """Its files, lineage, configuration and scores as well."""
    return context.registry.details(caller.team, name)


@router.get("/models/{name}/card", summary="A model's card", **answers("text/markdown"))
def get_model_card(name: str, caller: Reader, context: Context) -> Response:
    """Markdown with a YAML header, as it stands now."""
    return Response(context.registry.card(caller.team, name), media_type="text/markdown")


@router.get(
    "/models/{name}/files/{file}",
    summary="One of a model's files",
    **answers("application/octet-stream"),
)
def get_model_file(name: str, file: str, caller: Reader, context: Context) -> FileResponse:
    """Weights, configuration, tokenizer; `details` lists them with their digests."""
    path = context.registry.file(caller.team, name, file)
    return FileResponse(path, media_type="application/octet-stream")


@router.post("/models/{name}/imports", summary="Import another program's scores")
@takes_body("data")
def import_scores(name: str, body: api.ImportIn, caller: Writer, context: Context) -> api.Imported:
    """Scores that were found elsewhere, kept beside those found here and marked by their source."""
    return context.imports.add(caller.team, name, body)


@router.get(
    "/models/{name}/imports/{imported}/outcomes",
    summary="Outcomes of an import",
    **answers("application/jsonl"),
)
def get_imported_outcomes(
    name: str, imported: str, caller: Reader, context: Context
) -> FileResponse:
    """What the model answered, one JSON object a line."""
    path = context.imports.outcomes(caller.team, name, imported)
    return FileResponse(path, media_type="application/jsonl")


@router.get("/models/{name}/serving", summary="Where a model answers")
def get_serving(name: str, caller: Reader, context: Context) -> api.Serving:
    """Endpoints of the caption service that answer with it, or would go back to it."""
    context.registry.get(caller.team, name)
    endpoints = context.platform(caller.team).caption.endpoints()
    return api.Serving(
        endpoints=[endpoint.name for endpoint in endpoints if endpoint.model == name],
        standby=[endpoint.name for endpoint in endpoints if endpoint.previous == name],
    )
