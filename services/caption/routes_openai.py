"""OpenAI's API over the team's models and endpoints: parse, call, return."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from services.caption.context import CaptionContext
from services.caption.routes import Context, Reader
from services.caption.serving.openai_chat import stream_of
from services.chassis.web.key_then_body import takes_body
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
async def complete_chat(
    body: openai.ChatIn, caller: Reader, context: Context
) -> openai.ChatCompletion | StreamingResponse:
    """Answer a question about images; `stream` sends the text as it is generated."""
    if not body.stream:
        return await context.slow.run(caller.team, lambda: _whole(context, caller.team, body))
    usage = body.stream_options is not None and body.stream_options.include_usage

    def begin() -> Iterator[str]:
        return stream_of(context.direct.chat(caller.team, body), model=body.model, usage=usage)

    return await context.slow.stream(caller.team, begin, media_type="text/event-stream")


def _whole(context: CaptionContext, team: str, body: openai.ChatIn) -> openai.ChatCompletion:
    pieces = context.direct.chat(team, body)
    return next(piece for piece in pieces if not isinstance(piece, str))


@router.get("/models/{model}", summary="Get a model (OpenAI)")
def get_served_model(model: str, caller: Reader, context: Context) -> openai.ServedModel:
    """A model or endpoint in OpenAI's format."""
    return context.direct.model(caller.team, model)
