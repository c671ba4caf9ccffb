"""What every engine must do: the same suite for each adapter of the port."""

from __future__ import annotations

import threading

import pytest

from services.caption.engines.engine import Engine, Engines
from tests.support.caption_engines import PREFIX, TritonServing, ignore, requests
from vila2.engine.requests import Generation


@pytest.fixture(
    params=[
        "embedded",
        "transformers",
        "endpoint",
        pytest.param("triton", marks=pytest.mark.server),
    ]
)
def engines(request: pytest.FixtureRequest) -> Engines:
    fixtures = {"transformers": "with_transformers", "endpoint": "at_endpoint"}
    if request.param == "triton":
        serving: TritonServing = request.getfixturevalue("serving")
        return serving.engines
    made: Engines = request.getfixturevalue(fixtures.get(request.param, request.param))
    return made


@pytest.fixture
def engine(engines: Engines) -> Engine:
    return engines.get(PREFIX)


def test_engines_tell_what_computes(engines: Engines) -> None:
    """It goes into the recipe hash of every layer that they caption."""
    info = engines.info(PREFIX)
    assert info.kind in ("embedded", "transformers", "endpoint", "triton-python")
    assert any(character.isdigit() for character in info.version)


def test_answers_come_in_order_and_progress_reaches_all(engine: Engine) -> None:
    seen: list[int] = []
    asked = requests(50, engine.image_input)
    answers = engine.generate(asked, progress=seen.append)
    assert len(answers) == 50
    assert (max(seen), seen) == (50, sorted(seen))
    for answer, request in zip(answers, asked, strict=True):
        assert answer.tokens <= request.sampling.max_new_tokens
        assert answer.prompt_tokens > 0
        assert answer.finish_reason in ("stop", "length")


def test_the_same_question_gets_the_same_answer_alone(engine: Engine) -> None:
    asked = requests(12, engine.image_input)
    together = [a.text for a in engine.generate(asked, progress=ignore)]
    alone = [engine.generate([request], progress=ignore)[0].text for request in asked]
    assert together == alone


def test_another_image_gets_another_likelihood(engine: Engine) -> None:
    """The image reaches the model: greedy answers to the same question differ."""
    asked = [r for r in requests(24, engine.image_input, temperature=0.0) if r.seed % 2]
    answers = engine.generate(asked, progress=ignore)
    assert len({(a.text, a.logprob) for a in answers}) > 1


def test_a_stream_is_pieces_of_the_answer_and_then_the_answer(engine: Engine) -> None:
    for request in requests(6, engine.image_input, temperature=0.0):
        *pieces, last = engine.stream(request)
        (whole,) = engine.generate([request], progress=ignore)
        assert isinstance(last, Generation)
        assert "".join(str(piece) for piece in pieces).strip() == last.text == whole.text
        assert (last.tokens, last.finish_reason) == (whole.tokens, whole.finish_reason)


def test_many_callers_are_answered_at_once(engine: Engine) -> None:
    asked = requests(20, engine.image_input)
    expected = [a.text for a in engine.generate(asked, progress=ignore)]
    made: list[list[str]] = []

    def call() -> None:
        made.append([a.text for a in engine.generate(asked, progress=ignore)])

    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert made == [expected] * 5


def test_no_requests_get_no_answers(engine: Engine) -> None:
    assert engine.generate([], progress=ignore) == []
