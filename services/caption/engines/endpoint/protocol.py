"""Client side of OpenAI's chat completions: builds requests, parses replies and errors. Pure.

The kinds of error match what the caller must do: try later (`Later`), give up on this request
(`RequestRefused`), or give up on the endpoint (`EngineRefused`).
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from services.caption.engines.engine import EngineRefused
from vila2.engine.requests import Generation, ImageData, Request
from vila2.schemas.endpoint_model import EndpointModel

# Size limit of a reply; the longest allowed answer has 4,096 tokens.
MOST_BYTES = 8 * 1024 * 1024
_LONGEST_PAUSE = 300.0  # seconds; a longer Retry-After is waited for in several steps
_SHOWN = 300  # characters of an endpoint's message


class Later(Exception):
    """The endpoint is busy or down; `pause` is the wait that it asked for, in seconds."""

    def __init__(self, message: str, *, pause: float = 0.0, busy: bool = False) -> None:
        super().__init__(message)
        self.pause, self.busy = pause, busy


class RequestRefused(Exception):
    """The endpoint refuses this request and would refuse it again. It may charge `cost`."""

    def __init__(self, message: str, *, cost: float = 0.0) -> None:
        super().__init__(message)
        self.cost = cost


def request_body(spec: EndpointModel, request: Request, *, stream: bool = False) -> dict[str, Any]:
    """The JSON of one request; images become data URLs."""
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": _data_url(image)}} for image in request.images
    ]
    content.append({"type": "text", "text": request.question})
    messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": spec.model,
        "messages": messages,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        spec.length_parameter: sampling.max_new_tokens,
        # Some servers limit seeds to 31 bits. Whether a server honours seeds is not known.
        "seed": request.seed % 2**31,
    }
    if spec.logprobs:
        body["logprobs"] = True
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _data_url(image: ImageData) -> str:
    assert isinstance(image, bytes)
    kind = (
        "png" if image.startswith(b"\x89PNG")
        else "webp" if image.startswith(b"RIFF")
        else "jpeg"
    )  # fmt: skip
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def answer_of(
    spec: EndpointModel, status: int, headers: Mapping[str, str], body: bytes
) -> Generation:
    """The answer in a reply; raises `Later`, `RequestRefused` or `EngineRefused`."""
    held = _parsed(spec, status, headers, body)
    cost, prompt_tokens, tokens = _usage(spec, held)
    if status != 200:
        raise _error(spec, status, headers, _message(held, body), cost)
    _check_model(spec, held)
    try:
        choice = held["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason") or "stop"
    except (KeyError, IndexError, TypeError) as error:
        message = _message(held, body)
        raise RequestRefused(f"its reply holds no answer: {message}", cost=cost) from error
    if not isinstance(text, str):
        kind = choice["message"].get("refusal") or f"content is {json.dumps(text)[:40]}"
        raise RequestRefused(f"the model gave no text: {kind}"[:_SHOWN], cost=cost)
    if finish not in ("stop", "length"):
        raise RequestRefused(f"the answer ended by {finish!r}", cost=cost)
    logprob, counted = _logprob(choice.get("logprobs"))
    if logprob is not None and not math.isfinite(logprob):
        raise RequestRefused("its log-probabilities are not finite numbers", cost=cost)
    return Generation(
        text=text.strip(),
        tokens=tokens if tokens is not None else counted,
        logprob=logprob,
        finish_reason=finish,
        prompt_tokens=prompt_tokens,
        cost=cost,
    )


def piece_of(data: str) -> tuple[str, str, dict[str, Any] | None]:
    """Text, finish reason and usage of one server-sent event; raises `RequestRefused`."""
    try:
        held = json.loads(data)
        if "error" in held:
            raise RequestRefused(_message(held, data.encode()))
        choices = held.get("choices") or [{}]
        delta = choices[0].get("delta") or {}
        return delta.get("content") or "", choices[0].get("finish_reason") or "", held.get("usage")
    except (ValueError, AttributeError, TypeError, IndexError) as error:
        raise RequestRefused(f"its stream is not OpenAI's: {data[:_SHOWN]}") from error


def _parsed(
    spec: EndpointModel, status: int, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    try:
        held = json.loads(body)
    except ValueError:
        held = None
    if isinstance(held, dict):
        return held
    if status != 200:
        raise _error(spec, status, headers, _message({}, body), 0.0)
    kind = headers.get("content-type", "no content type").partition(";")[0]
    raise Later(
        f"{spec.url} answered with {kind}, not with a JSON object; is it the address of an "
        f"OpenAI-compatible API, such as http://HOST:PORT/v1? It says: {_message({}, body)}"
    )


def _error(
    spec: EndpointModel, status: int, headers: Mapping[str, str], message: str, cost: float
) -> Exception:
    told = f"{spec.url} answered {status}: {message}"
    if status in (408, 409, 425, 429) or status >= 500:
        return Later(told, pause=_pause(headers), busy=status in (429, 503))
    if status in (401, 403):
        key = f"the variable {spec.key_env}" if spec.key_env else "none: name one by key_env"
        return EngineRefused(told, field="key_env", fix=f"check the API key ({key})")
    if status in (301, 302, 303, 307, 308):
        return EngineRefused(told, field="url", fix="redirects are not followed: give the target")
    if status in (404, 405):
        return EngineRefused(
            told, field="model", fix=f"is {spec.model!r} served there? See {spec.url}/models"
        )
    return RequestRefused(told, cost=cost)


def _pause(headers: Mapping[str, str]) -> float:
    """Seconds by Retry-After (RFC 9110, section 10.2.3): a number or a date; 0 without one."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            until = parsedate_to_datetime(given)
            sent = parsedate_to_datetime(headers.get("date", ""))
            seconds = (until - sent).total_seconds()
        except (ValueError, TypeError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_PAUSE) if math.isfinite(seconds) else 0.0


def _check_model(spec: EndpointModel, held: Mapping[str, Any]) -> None:
    """Raise `EngineRefused` if another model answered; a dated name of the same one may."""
    told = held.get("model")
    short = spec.model.rpartition("/")[2]
    if isinstance(told, str) and told and told != spec.model and not told.startswith(short):
        raise EngineRefused(
            f"{spec.url} was asked for {spec.model!r} and {told!r} answered",
            field="model",
            fix="add the model under the name that the endpoint reports",
        )


def _usage(spec: EndpointModel, held: Mapping[str, Any]) -> tuple[float, int, int | None]:
    """Cost, prompt tokens, and generated tokens (None if not reported)."""
    usage = held.get("usage")
    if not isinstance(usage, dict):
        return 0.0, 0, None
    prompt, tokens = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    return spec.prices.of(prompt_tokens=prompt, tokens=tokens), prompt, tokens


def _count(value: Any) -> int:
    counted = isinstance(value, int | float) and math.isfinite(value) and value > 0
    return int(value) if counted else 0


def _logprob(logprobs: Any) -> tuple[float | None, int]:
    """Mean log-probability and number of tokens; None if not reported.

    An absent or null value is None. A value that is not a number is NaN.
    """
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None, 0
    each = [token.get("logprob") if isinstance(token, dict) else None for token in content]
    if any(value is None for value in each):
        return None, len(each)
    numbers = [float(value) if isinstance(value, int | float) else math.nan for value in each]
    return sum(numbers) / len(numbers), len(numbers)


def _message(held: Mapping[str, Any], body: bytes) -> str:
    error = held.get("error", held.get("detail"))
    if isinstance(error, dict):
        error = error.get("message", error)
    text = str(error) if error else body[: 4 * _SHOWN].decode("utf-8", "replace")
    return " ".join(text.split())[:_SHOWN] or "nothing"
