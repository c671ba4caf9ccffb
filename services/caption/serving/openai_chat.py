"""Converts OpenAI's chat interface to one question about images. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from services.chassis.web.errors import Invalid, ServiceError
from vila2.schemas.rest import openai as api

DATA_URL = "data:image/"
DEFAULT_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Question:
    """A chat request; `field` is the path of its images, for error messages."""

    images: list[bytes]
    text: str
    system: str
    field: str


def question_of(messages: list[api.Message], *, most_images: int = 1) -> Question:
    """Images, question and system message; raises `Invalid` for requests that no model supports."""
    roles = [message.role for message in messages]
    if roles not in (["user"], ["system", "user"], ["developer", "user"]):
        raise Invalid(
            f"there are messages of {', '.join(roles)}",
            field="messages",
            fix="send one user message with an image and a question, after a system message if "
            "there is one; captioners have no memory",
        )
    place = len(messages) - 1
    field, content = f"messages[{place}].content", messages[-1].content
    parts = [] if isinstance(content, str) else content
    images = [part.image_url.url for part in parts if isinstance(part, api.ImagePart)]
    if not 1 <= len(images) <= most_images:
        wanted = "one part" if most_images == 1 else f"1 to {most_images} parts"
        raise Invalid(
            f"there are {len(images)} images in the message",
            field=field,
            fix=f"send {wanted} of type image_url",
        )
    text = _text_of(messages[-1])
    if not text:
        raise Invalid("there is no question", field=field, fix="add a part of type text")
    system = _text_of(messages[0]) if place else ""
    return Question([image_of(image, field=field) for image in images], text, system, field)


def _text_of(message: api.Message) -> str:
    if isinstance(message.content, str):
        return message.content.strip()
    texts = (part.text.strip() for part in message.content if isinstance(part, api.TextPart))
    return " ".join(texts).strip()


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
    try:
        for part in pieces:
            if isinstance(part, str):
                yield event(piece({"content": part}))
                continue
            yield event(piece({}, part.choices[0].finish_reason))
            if usage:
                yield event([], usage=part.usage.model_dump())
    except ServiceError as error:
        # The status was sent before: clients look for `error` in the stream.
        told = {"message": error.message, "type": "server_error", "code": error.code}
        yield f"data: {json.dumps({'error': told})}\n\n"
        return
    yield "data: [DONE]\n\n"
