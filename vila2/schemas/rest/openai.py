"""REST models of OpenAI's chat interface, limited to one question about images."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vila2.schemas.rest.base import Body, Model
from vila2.schemas.rest.examples import AT, CAPTION, PIXEL, example


class TextPart(Body):
    """A piece of text in a message."""

    type: Literal["text"]
    text: str = Field(max_length=32_000)


class ImageUrl(Body):
    """An image as a data URL: `data:image/jpeg;base64,...`."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(Body):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(Body):
    """A message: optionally one `system` (or `developer`) message, then one `user` message."""

    role: Literal["user", "system", "developer", "assistant"]
    content: str | list[Part]
    name: str | None = None


class TextFormat(Body):
    """The only format of a reply: text. JSON modes are not supported."""

    type: Literal["text"]


class StreamOptions(Body):
    """What a stream includes besides the text."""

    include_usage: bool = False


class ChatIn(Body):
    """A question about images.

    A parameter that has no effect here is accepted only with its neutral value. Any other value is
    an error, because a parameter that is silently ignored would mislead the caller.
    """

    model_config = example(
        model="captioner",
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in the image?"},
                    {
                        "type": "image_url",
                        "image_url": {"url": PIXEL},
                    },
                ],
            }
        ],
        max_tokens=48,
    )

    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=5, description="Null: 0, greedy decoding.")
    top_p: float | None = Field(None, gt=0, le=1, description="Null: 1.")
    max_tokens: int | None = Field(None, ge=1, le=4096)
    max_completion_tokens: int | None = Field(None, ge=1, le=4096)
    seed: int | None = Field(None, ge=0)
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logit_bias: dict[str, float] | None = Field(None, max_length=0)
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    response_format: TextFormat | None = None
    stop: list[str] | None = Field(None, max_length=0)
    store: Literal[False] | None = None
    tools: list[dict[str, Any]] | None = Field(None, max_length=0)
    tool_choice: Literal["none", "auto"] | None = None


class Usage(Model):
    """Tokens of a reply; `prompt_tokens` counts the text and the image."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatMessage(Model):
    """The reply's text."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(Model):
    """The one reply."""

    index: int = 0
    message: ChatMessage
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class ChatCompletion(Model):
    """A complete, non-streamed reply."""

    model_config = example(
        id="chatcmpl-0cc175b9c0f1b6a831c399e2",
        created=int(AT),
        model="captioner",
        choices=[{"message": {"content": CAPTION}, "finish_reason": "stop"}],
        usage={"prompt_tokens": 74, "completion_tokens": 12, "total_tokens": 86},
    )

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class ServedModel(Model):
    """A model available to requests."""

    model_config = example(id="captioner", owned_by="local")

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ServedModels(Model):
    """All models of the team."""

    model_config = example(data=[{"id": "captioner", "owned_by": "local"}])

    object: Literal["list"] = "list"
    data: list[ServedModel]


Chunk = dict[str, Any]
