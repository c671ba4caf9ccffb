from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from services.caption.captioning.attempts import sample_seed
from services.caption.captioning.chunks import caption_samples
from services.caption.captioning.how import Captioning
from tests.support.datasets.samples import sample
from vila2.data.layers import CAPTIONED, QUARANTINED
from vila2.engine.requests import Generation, ImageInput, Request
from vila2.schemas.sampling import Gate, Sampling

GOOD = "A small brown dog sleeps on the red sofa near a window."
LOOP = "dog dog dog dog dog dog dog dog dog dog dog dog"


class Scripted:
    """An engine that says what `script` makes of a question, and keeps what it was asked."""

    image_input = ImageInput(side=8)

    def __init__(self, script: Callable[[Request, int], str]) -> None:
        self._script = script
        self.rounds: list[list[Request]] = []

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        self.rounds.append(list(requests))
        progress(len(requests))
        texts = [self._script(request, len(self.rounds) - 1) for request in requests]
        return [Generation(text, len(text.split()), -0.5, "stop") for text in texts]


def how(**fields: Any) -> Captioning:
    given: dict[str, Any] = {
        "model": "vlm-0",
        "prompts": ["Describe the image.", "What is to be seen?"],
        "sampling": Sampling(temperature=0.2),
        "gate": Gate(attempts=3, retry_temperature=0.9),
        "seed": 5,
        **fields,
    }
    return Captioning(**given)


def test_a_retry_has_another_seed_and_the_retry_temperature() -> None:
    """Asking the same way again would give the same caption."""
    engine = Scripted(lambda _, attempt: GOOD if attempt == 2 else LOOP)
    (row,), _ = caption_samples([sample("a")], how(), engine)
    asked = [requests[0] for requests in engine.rounds]
    assert [request.sampling.temperature for request in asked] == [0.2, 0.9, 0.9]
    assert len({request.seed for request in asked}) == 3
    assert len({request.question for request in asked}) == 1
    assert (row.caption, row.status, row.attempt, row.temperature) == (GOOD, CAPTIONED, 2, 0.9)
    assert row.seed == sample_seed(5, "a", 2)


def test_only_what_failed_is_asked_again() -> None:
    """A caption that passed stays."""
    engine = Scripted(
        lambda request, attempt: LOOP if request.sha256 == bad and not attempt else GOOD
    )
    samples = [sample("a"), sample("b"), sample("c")]
    bad = samples[1].sha256
    rows, _ = caption_samples(samples, how(), engine)
    assert [len(requests) for requests in engine.rounds] == [3, 1]
    assert [row.attempt for row in rows] == [0, 1, 0]
    assert [row.key for row in rows] == ["a", "b", "c"]


def test_a_sample_that_fails_every_attempt_is_quarantined_with_the_reason() -> None:
    """Its row holds what the captioner said last."""
    engine = Scripted(lambda *_: LOOP)
    (row,), _ = caption_samples([sample("a", caption="the old caption")], how(), engine)
    assert len(engine.rounds) == 3
    assert (row.status, row.reason, row.attempt) == (QUARANTINED, "repetition", 2)


@pytest.mark.parametrize("said", ["", LOOP, "I cannot help with that."])
def test_nothing_falls_back_to_the_old_caption(said: str) -> None:
    """A failed caption is missing, and counted; it never looks as if it were new."""
    rows, _ = caption_samples(
        [sample("a", caption="the old caption")], how(), Scripted(lambda *_: said)
    )
    assert [row.status for row in rows] == [QUARANTINED]
    assert "old caption" not in rows[0].caption


def test_one_attempt_means_one() -> None:
    """The ladder is as long as the gate says."""
    engine = Scripted(lambda *_: LOOP)
    caption_samples([sample("a")], how(gate=Gate(attempts=1)), engine)
    assert len(engine.rounds) == 1


def test_a_sample_is_asked_the_same_whatever_is_captioned_beside_it() -> None:
    """Preview and batch agree because question and seed depend on the sample alone."""
    alone, together = Scripted(lambda *_: GOOD), Scripted(lambda *_: GOOD)
    caption_samples([sample("b")], how(), alone)
    caption_samples([sample(key) for key in "abcd"], how(), together)
    asked, beside = alone.rounds[0][0], together.rounds[0][1]
    assert (asked.question, asked.seed) == (beside.question, beside.seed)


def test_prompts_are_spread_over_the_samples_and_another_seed_spreads_them_otherwise() -> None:
    """Every prompt gets its share."""
    samples = [sample(f"k{n}") for n in range(40)]

    def asked(seed: int) -> list[str]:
        return [row.prompt for row in caption_samples(samples, how(seed=seed), engine)[0]]

    engine = Scripted(lambda *_: GOOD)
    assert 8 < asked(1).count("Describe the image.") < 32
    assert asked(1) == asked(1) != asked(2)


def test_an_image_without_words_is_settled_at_once() -> None:
    """Where the specialist's word is final, asking again would only coax an invention."""
    engine = Scripted(lambda *_: "no text")
    (row,), _ = caption_samples([sample("a")], how(task="ocr"), engine)
    assert (len(engine.rounds), row.status, row.reason) == (1, QUARANTINED, "no-text")


def test_progress_never_goes_back() -> None:
    """Retries are told on top of what is settled."""
    told: list[int] = []
    engine = Scripted(
        lambda request, attempt: LOOP if request.sha256 == bad and not attempt else GOOD
    )
    samples = [sample("a"), sample("b"), sample("c")]
    bad = samples[1].sha256
    caption_samples(samples, how(), engine, progress=told.append)
    assert told == [3, 3]


def test_an_image_that_cannot_be_decoded_is_quarantined_and_the_others_are_captioned() -> None:
    """Of a version that was checked by structure alone; nothing is asked about it."""
    engine = Scripted(lambda _, __: GOOD)
    rows, _ = caption_samples([sample("a", image=b"no image"), sample("b")], how(), engine)
    assert [(row.key, row.status, row.reason) for row in rows] == [
        ("a", QUARANTINED, "image-format-not-allowed"),
        ("b", CAPTIONED, ""),
    ]
    assert [len(requests) for requests in engine.rounds] == [1]
