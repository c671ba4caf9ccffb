"""OpenAI's chat interface in terms of one question about one image. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Iterator

from services.chassis.web.errors import Invalid
from vila2.schemas.rest import openai as api

DATA_URL = "data:image/"
DEFAULT_TOKENS = 256


def question_of(messages: list[api.Message]) -> tuple[bytes, str]:
    """The image and the question; raises `Invalid` for what this model cannot be asked."""
    if len(messages) != 1 or messages[0].role != "user":
        raise Invalid(
            f"there are messages of {', '.join(m.role for m in messages)}",
            field="messages",
            fix="send one user message with an image and a question; this model has no memory",
        )
    content = messages[0].content
    parts = [] if isinstance(content, str) else content
    images = [part.image_url.url for part in parts if isinstance(part, api.ImagePart)]
    if len(images) != 1:
        raise Invalid(
            f"there are {len(images)} images in the message",
            field="messages[0].content",
            fix="send one part of type image_url",
        )
    text = " ".join(part.text.strip() for part in parts if isinstance(part, api.TextPart)).strip()
    if not text:
        raise Invalid(
            "there is no question", field="messages[0].content", fix="add a part of type text"
        )
    return image_of(images[0], field="messages[0].content"), text


_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def image_of(text: str, *, field: str) -> bytes:
    """The bytes of a data URL or of plain base64."""
    if _ADDRESS.match(text):
        raise Invalid(
            "addresses are not fetched here",
            field=field,
            fix="send the image itself as data:image/jpeg;base64,...",
        )
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.startswith(DATA_URL) or not head.endswith(";base64"):
            raise Invalid(
                f"{head[:60]!r} does not begin an image",
                field=field,
                fix="write data:image/jpeg;base64, and the bytes",
            )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"it is not base64 ({error})", field=field, fix="encode the bytes") from error


def stream_of(
    pieces: Iterator[str | api.ChatCompletion], *, model: str, usage: bool
) -> Iterator[str]:
    """Server-sent events of a reply: the role, the pieces of text as they come, the end."""
    identity, created = f"chatcmpl-{uuid.uuid4().hex[:24]}", int(time.time())

    def event(choices: list[api.Chunk], **more: object) -> str:
        chunk = {
            "id": identity,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
            "choices": choices,
            **more,
        }
        return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"

    def piece(delta: dict[str, str], end: str | None = None) -> list[api.Chunk]:
        return [{"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}]

    yield event(piece({"role": "assistant", "content": ""}))
    for part in pieces:
        if isinstance(part, str):
            yield event(piece({"content": part}))
            continue
        yield event(piece({}, part.choices[0].finish_reason))
        if usage:
            yield event([], usage=part.usage.model_dump())
    yield "data: [DONE]\n\n"
