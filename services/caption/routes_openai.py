"""OpenAI's API over the team's models and endpoints: parse, call, return."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from services.caption.routes import Context, Reader
from services.caption.serving.openai_chat import stream_of
from services.chassis.web.middleware import takes_body
from vila2.schemas.rest import openai

router = APIRouter(prefix="/v1")


@router.get("/models", summary="List models (OpenAI)")
def list_served_models(caller: Reader, context: Context) -> openai.ServedModels:
    """The team's endpoints and models in OpenAI's format."""
    return context.direct.models(caller.team)


@router.post(
    "/chat/completions",
    summary="Complete a chat (OpenAI)",
    response_model=None,
    responses={200: {"model": openai.ChatCompletion, "content": {"text/event-stream": {}}}},
)
@takes_body("data")
def complete_chat(
    body: openai.ChatIn, caller: Reader, context: Context
) -> openai.ChatCompletion | StreamingResponse:
    """Answer a question about images; `stream` sends the text as it is generated."""
    pieces = context.direct.chat(caller.team, body)
    if not body.stream:
        return next(piece for piece in pieces if not isinstance(piece, str))
    usage = body.stream_options is not None and body.stream_options.include_usage
    events = stream_of(pieces, model=body.model, usage=usage)
    return StreamingResponse(events, media_type="text/event-stream")


@router.get("/models/{model}", summary="Get a model (OpenAI)")
def get_served_model(model: str, caller: Reader, context: Context) -> openai.ServedModel:
    """A model or endpoint in OpenAI's format."""
    return context.direct.model(caller.team, model)
