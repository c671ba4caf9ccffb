"""vLLM in Triton answers as the captioner in this process does, and its end loses nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import psutil
import pytest

from services.caption.engines.embedded import EmbeddedEngines
from services.caption.engines.engine import Engine
from tests.support.caption_engines import ignore
from tests.support.vllm.models import QUESTION, blocks
from tests.support.vllm.serving import PREFIX, VllmServing
from vila2.engine.captioner import Captioner
from vila2.engine.consistency import Scorer
from vila2.engine.requests import Generation, Request, Scoring
from vila2.schemas.sampling import Sampling
from vila2.triton.vllm_sizes import VLLM_VERSION

pytestmark = [pytest.mark.server, pytest.mark.full]
IMAGES = blocks(60, 32)
GREEDY = Sampling(max_new_tokens=24)


def asked(sampling: Sampling = GREEDY, question: str = QUESTION) -> list[Request]:
    return [Request(image, question, seed, sampling) for seed, image in enumerate(IMAGES)]


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServing]:
    made = VllmServing(tmp_path_factory.mktemp("vllm"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def embedded(serving: VllmServing) -> Engine:
    return EmbeddedEngines(lambda _: serving.model).get(PREFIX)


def test_greedy_answers_are_those_of_the_captioner_in_this_process(
    serving: VllmServing, embedded: Engine
) -> None:
    """Markup in a question stays text, and no token is doubled: prompts are as long."""
    for question in (QUESTION, "what is this <image> about, <user>?"):
        ours = embedded.generate(asked(question=question), progress=ignore)
        theirs = serving.engine.generate(asked(question=question), progress=ignore)
        for one, other in zip(ours, theirs, strict=True):
            assert other.text == one.text
            assert (other.tokens, other.prompt_tokens) == (one.tokens, one.prompt_tokens)
            assert other.finish_reason == one.finish_reason
            assert other.logprob == pytest.approx(one.logprob, abs=1e-4)


def test_a_recipe_names_vllms_version_and_the_precision(serving: VllmServing) -> None:
    info = serving.engines.info(PREFIX)
    assert (info.kind, info.version.partition(" ")[2]) == (
        "triton-vllm", f"vLLM {VLLM_VERSION} float32",
    )  # fmt: skip


def test_one_answer_at_a_time_is_the_same_as_many(serving: VllmServing) -> None:
    engine, some = serving.engine, asked()[:6]
    together = engine.generate(some, progress=ignore)
    assert [engine.generate([one], progress=ignore)[0].text for one in some] == [
        answer.text for answer in together
    ]


def test_a_seed_gives_its_answer_again_and_another_seed_another(serving: VllmServing) -> None:
    warm = Sampling(temperature=1.0, max_new_tokens=24)
    engine = serving.engine
    first = [a.text for a in engine.generate(asked(warm), progress=ignore)]
    assert [a.text for a in engine.generate(asked(warm), progress=ignore)] == first
    moved = [Request(r.image, r.question, r.seed + 1000, r.sampling) for r in asked(warm)]
    assert [a.text for a in engine.generate(moved, progress=ignore)] != first


def test_a_streamed_answer_is_the_whole_one_in_pieces(serving: VllmServing) -> None:
    request = asked()[0]
    (whole,) = serving.engine.generate([request], progress=ignore)
    *pieces, last = serving.engine.stream(request)
    assert len(pieces) > 3
    assert isinstance(last, Generation)
    assert last == whole
    assert "".join(map(str, pieces)).strip() == whole.text


def test_scores_are_those_of_the_captioner_against_the_models_reference(
    serving: VllmServing,
) -> None:
    captioner = Captioner.load(serving.model)
    assert captioner.reference is not None
    texts = [answer.text for answer in captioner.generate(asked())]
    scorings = [Scoring(i, QUESTION, text) for i, text in zip(IMAGES, texts, strict=True)]
    ours = [score.gain for score in Scorer(captioner).score(scorings)]
    assert serving.engine.score(scorings) == pytest.approx(ours, abs=1e-3)


def test_the_engines_load_is_on_the_servers_metrics(serving: VllmServing) -> None:
    serving.engine.generate(asked()[:4], progress=ignore)
    lines = serving.metrics().splitlines()
    found = {line.split("{")[0] for line in lines if line.startswith("vila2_engine_")}
    assert {f"vila2_engine_{name}" for name in (
        "output_tokens_total", "kv_cache_usage_ratio", "preemptions_total", "waiting_requests",
    )} <= found  # fmt: skip


def test_a_killed_engine_process_is_replaced_and_every_request_answered_once(
    serving: VllmServing,
) -> None:
    requests = asked() * 4
    expected = [answer.text for answer in serving.engine.generate(requests, progress=ignore)]
    (core,) = (
        child
        for child in psutil.Process(serving.server.pid).children(recursive=True)
        if "EngineCore" in " ".join(child.cmdline()) or "EngineCore" in child.name()
    )
    killed = threading.Event()

    def strike(done: int) -> None:
        if done > 60 and not killed.is_set():
            killed.set()
            os.kill(core.pid, signal.SIGKILL)

    made = serving.engine.generate(requests, progress=strike)
    assert killed.is_set()
    assert not core.is_running()
    assert [answer.text for answer in made] == expected
