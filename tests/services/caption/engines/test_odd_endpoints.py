"""Endpoints that are busy, broken or hostile: what each means for a caption job."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from services.caption.engines.endpoint.allowed import AllowedEndpoints
from services.caption.engines.endpoint.engine import EndpointEngine
from services.caption.engines.endpoint.engines import EndpointEngines
from services.caption.engines.engine import EngineRefused, EngineUnavailable
from services.chassis.storage.objects_directory import DirectoryObjects
from tests.support.caption_engines import ignore, png
from tests.support.servers.odd_endpoint import Reply, completion, odd_endpoint
from vila2.engine.requests import Request
from vila2.schemas.endpoint_model import EndpointModel, Prices
from vila2.schemas.sampling import Sampling

Answer = Callable[[int, dict[str, Any]], Reply | None]
IMAGE = png(np.full((16, 16, 3), 200, np.uint8))


@contextmanager
def engine(answer: Answer, *, patience: float = 1.0, **fields: Any) -> Iterator[EndpointEngine]:
    with odd_endpoint(answer) as (url, asked), TemporaryDirectory() as folder:
        engines = EndpointEngines(DirectoryObjects(Path(folder)), AllowedEndpoints("*"))
        made = engines.connect(EndpointModel(url=url, model="odd", **fields), patience=patience)
        made.asked = asked  # type: ignore[attr-defined]
        yield made
        made.close()
        engines.close()


def requests(count: int = 1) -> list[Request]:
    return [Request(IMAGE, "what is this?", n, Sampling(max_new_tokens=8)) for n in range(count)]


def one(held: EndpointEngine) -> Any:
    return held.generate(requests(), progress=ignore)[0]


def test_an_answer_is_taken_with_its_tokens_cost_and_likelihood() -> None:
    logprobs = {"content": [{"logprob": -0.5}, {"logprob": -1.5}]}
    choice = {"message": {"content": " a fox "}, "finish_reason": "length", "logprobs": logprobs}
    prices = Prices(input=1.0, output=10.0, image=0.5)
    with engine(lambda *_: Reply(completion(choices=[choice])), prices=prices) as held:
        made = one(held)
    assert (made.text, made.tokens, made.prompt_tokens) == ("a fox", 2, 10)
    assert (made.logprob, made.finish_reason) == (-1.0, "length")
    assert made.cost == pytest.approx(0.5 + 10e-6 + 20e-6)


def test_a_request_holds_the_image_the_prompt_and_the_options() -> None:
    with engine(lambda *_: Reply(completion())) as held:
        held.generate(
            [
                Request(
                    IMAGE,
                    "what?",
                    5,
                    Sampling(temperature=0.5, max_new_tokens=9),
                    system="be brief",
                )
            ],
            progress=ignore,
        )
        (asked,) = held.asked  # type: ignore[attr-defined]
    system, user = asked["messages"]
    assert system == {"role": "system", "content": "be brief"}
    assert user["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert user["content"][1] == {"type": "text", "text": "what?"}
    assert (asked["max_tokens"], asked["temperature"], asked["seed"]) == (9, 0.5, 5)


def test_a_busy_endpoint_is_asked_again_when_it_said() -> None:
    """429 with Retry-After: all requests wait, and none is lost."""
    began = time.monotonic()

    def answer(number: int, _: dict[str, Any]) -> Reply:
        busy = {"error": {"message": "slow down"}}
        return Reply(busy, 429, {"retry-after": "1"}) if number <= 2 else Reply(completion())

    with engine(answer) as held:
        made = held.generate(requests(6), progress=ignore)
    assert [answer.text for answer in made] == ["a fox"] * 6
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("status", [500, 502, 503, 408])
def test_a_passing_error_is_tried_again(status: int) -> None:
    def answer(number: int, _: dict[str, Any]) -> Reply:
        return Reply(b"<html>oops</html>", status) if number == 1 else Reply(completion())

    with engine(answer) as held:
        assert one(held).text == "a fox"


def test_a_connection_that_closes_is_tried_again() -> None:
    with engine(lambda number, _: None if number == 1 else Reply(completion())) as held:
        assert one(held).text == "a fox"


def test_an_endpoint_that_is_down_is_unavailable_for_now() -> None:
    """The shard is given back; nothing is quarantined."""
    with (
        engine(lambda *_: None, patience=0.3) as held,
        pytest.raises(EngineUnavailable, match="cannot be reached"),
    ):
        one(held)


def test_html_with_a_good_status_names_the_address() -> None:
    html = Reply(b"<html>Welcome</html>", headers={"content-type": "text/html"})
    with (
        engine(lambda *_: html, patience=0.3) as held,
        pytest.raises(
            EngineUnavailable, match=r"text/html, not with a JSON object.*http://HOST:PORT/v1"
        ),
    ):
        one(held)


def test_an_endpoint_that_drips_for_ever_is_ended_by_the_time_limit() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            for _ in range(200):
                handler.wfile.write(b" ")
                handler.wfile.flush()
                time.sleep(0.05)

    with engine(lambda *_: Reply(b"", after=drip), patience=0.1, timeout_seconds=0.4) as held:
        began = time.monotonic()
        with pytest.raises(EngineUnavailable, match=r"gave no answer within 0\.4 s"):
            one(held)
        assert time.monotonic() - began < 5


def test_an_endless_reply_is_refused_by_its_size() -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            for _ in range(200):
                handler.wfile.write(b" " * 100_000)

    with engine(lambda *_: Reply(b"", after=flood)) as held:
        assert "more than" in one(held).refusal


def test_another_model_s_answers_are_not_taken() -> None:
    with (
        engine(lambda *_: Reply(completion(model="other"))) as held,
        pytest.raises(EngineRefused, match="was asked for 'odd' and 'other' answered"),
    ):
        one(held)


@pytest.mark.parametrize(
    ("status", "field"), [(401, "key_env"), (403, "key_env"), (404, "model"), (307, "url")]
)
def test_what_no_request_will_mend_is_refused_with_its_field(status: int, field: str) -> None:
    refusal = Reply({"error": {"message": "no"}}, status, {"location": "http://127.0.0.1:9/"})
    with engine(lambda *_: refusal) as held, pytest.raises(EngineRefused) as refused:
        one(held)
    assert refused.value.field == field


def test_a_refused_image_is_its_own_affair_and_what_it_cost_is_counted() -> None:
    """A 400 that bills: quarantined with the endpoint's words, without another try."""
    bill = {"error": {"message": "image too large"}, "usage": {"prompt_tokens": 1_000_000}}
    with engine(lambda *_: Reply(bill, 400), prices=Prices(input=2.0)) as held:
        made = one(held)
    assert made.refusal.startswith("endpoint-refused: ")
    assert "image too large" in made.refusal
    assert made.cost == pytest.approx(2.0)


def test_eight_refusals_in_a_row_end_the_shard() -> None:
    """A wrong model or option would else quarantine a whole dataset."""
    refusal = Reply({"error": {"message": "this model takes no images"}}, 400)
    with engine(lambda *_: refusal) as held, pytest.raises(EngineRefused, match="takes no images"):
        held.generate(requests(30), progress=ignore)


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ([], "holds no answer"),
        ([{"message": {"content": None, "refusal": "I cannot"}}], "I cannot"),
        ([{"message": {"content": "x"}, "finish_reason": "content_filter"}], "content_filter"),
        (
            [{"message": {"content": "x"}, "logprobs": {"content": [{"logprob": float("nan")}]}}],
            "not finite",
        ),
    ],
)
def test_an_answer_that_is_none_is_refused_with_its_reason(
    choices: list[dict[str, Any]], reason: str
) -> None:
    with engine(lambda *_: Reply(completion(choices=choices))) as held:
        assert reason in one(held).refusal


@pytest.mark.parametrize(
    "logprobs", [None, {}, {"content": None}, {"content": [{"logprob": None}]}]
)
def test_absent_likelihoods_are_none_and_not_zero(logprobs: Any) -> None:
    choice = {"message": {"content": "a fox"}, "logprobs": logprobs}
    with engine(lambda *_: Reply(completion(choices=[choice]))) as held:
        assert one(held).logprob is None


def test_keys_go_only_where_the_operator_said() -> None:
    allowed = AllowedEndpoints(
        "http://gpu7:8000 https://api.example.com=EXAMPLE_KEY",
        environment={"EXAMPLE_KEY": "k", "SECRET": "s"},
    )
    gpu = EndpointModel(url="http://gpu7:8000/v1", model="m")
    hosted = EndpointModel(url="https://api.example.com/v1", model="m", key_env="EXAMPLE_KEY")
    assert (allowed.key_of(gpu), allowed.key_of(hosted)) == ("", "k")
    for spec, field in (
        (gpu.model_copy(update={"url": "http://169.254.169.254/v1"}), "url"),
        (gpu.model_copy(update={"key_env": "SECRET"}), "key_env"),
        (hosted.model_copy(update={"key_env": "SECRET"}), "key_env"),
    ):
        with pytest.raises(EngineRefused) as refused:
            allowed.key_of(spec)
        assert refused.value.field == field


def test_a_key_that_is_not_set_is_named() -> None:
    allowed = AllowedEndpoints("*", environment={})
    with pytest.raises(EngineRefused, match="the variable KEY is not set"):
        allowed.key_of(EndpointModel(url="http://h/v1", model="m", key_env="KEY"))


@pytest.mark.parametrize(
    "url", ["ftp://h/v1", "http://u:p@h/v1", "http://h/v1?key=x", "h:8000/v1", "http:///v1"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        EndpointModel(url=url, model="m")
