"""The consistency score: what it tells, that every engine gives the same, and what it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.caption.captioning.chunks import caption_samples
from services.caption.captioning.how import Captioning, check_abilities
from services.caption.engines.embedded import EmbeddedEngine, EmbeddedEngines
from services.caption.engines.engine import Abilities, Engine
from services.caption.engines.transformers_generate import NO_SCORES
from services.caption.engines.triton import TritonEngines
from services.caption.engines.triton_connection import Connection
from services.caption.tables import Base
from services.caption.triton.repository import EngineOptions
from services.caption.triton.served import ServedModels
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from services.chassis.web.errors import Invalid
from tests.services.caption.layers.test_retries import GOOD, Scripted, how
from tests.support.datasets.samples import sample
from tests.support.models.trained_captioner import TrainedCaptioner
from tests.support.servers.triton import triton_server
from vila2.data.layers import CAPTIONED, QUARANTINED, CaptionRow
from vila2.engine.captioner import Captioner
from vila2.engine.consistency import Scorer
from vila2.engine.reference import REFERENCE_FILE, grey_embedding, read_reference
from vila2.engine.requests import Request, Scoring
from vila2.model.digest import folder_digest
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.sampling import Gate, Sampling


@pytest.fixture(scope="module")
def captioner(model: TrainedCaptioner) -> Captioner:
    return Captioner.load(model.folder, batch_size=8)


@pytest.fixture(scope="module")
def embedded(model: TrainedCaptioner) -> EmbeddedEngine:
    return EmbeddedEngines(lambda _: model.folder, batch_size=8).get("models/m-0")


@pytest.fixture(scope="module")
def serving(
    model: TrainedCaptioner, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Engine, Connection]]:
    """The model on a real Triton server, in the Python backend."""
    folder = tmp_path_factory.mktemp("triton")
    objects = DirectoryObjects(folder / "objects")
    objects.put_directory("models/m-0", model.folder)
    server = triton_server(folder / "objects" / "serving")
    server.start()
    database = Database.sqlite(folder / "served.sqlite", Base.metadata)
    connection = Connection(server.url)
    options = EngineOptions(batch_size=8, threads=1, max_waiting=10)
    served = ServedModels(database, objects, connection, options=options, budget=2**30)
    engines = TritonEngines(connection, objects, served)
    try:
        yield engines.get("models/m-0"), connection
    finally:
        engines.close()
        server.stop()
        database.close()


@pytest.fixture(params=["embedded", pytest.param("triton", marks=pytest.mark.server)])
def engine(request: pytest.FixtureRequest, embedded: EmbeddedEngine) -> Engine:
    if request.param == "embedded":
        return embedded
    served: tuple[Engine, Connection] = request.getfixturevalue("serving")
    return served[0]


def swapped(captions: Sequence[str]) -> list[str]:
    """Every image gets another's caption; none that reads the same."""
    return [next(other for other in (*captions[n:], *captions) if other != caption)
            for n, caption in enumerate(captions)]  # fmt: skip


def scorings(model: TrainedCaptioner, captions: Sequence[str]) -> list[Scoring]:
    return [
        Scoring(pixels, model.question, caption)
        for pixels, caption in zip(model.pixels(), captions, strict=True)
    ]


def odd(model: TrainedCaptioner) -> list[Scoring]:
    """Captions of very different length: none at all, markup of ours, far too many words."""
    texts = ["", "a <user> & <image> größe", *(" ".join(model.captions()[:n]) for n in (1, 4, 9))]
    return [
        replace(request, caption=texts[number % 5])
        for number, request in enumerate(scorings(model, model.captions()))
    ]


def test_an_image_s_own_caption_scores_higher_than_another_s(
    model: TrainedCaptioner, captioner: Captioner
) -> None:
    scorer = Scorer(captioner)
    own = scorer.score(scorings(model, model.captions()))
    other = scorer.score(scorings(model, swapped(model.captions())))
    won = np.mean([o.gain > s.gain for o, s in zip(own, other, strict=True)])
    assert won > 0.75
    assert np.mean([o.gain for o in own]) > 0.2 > 0 > np.mean([s.gain for s in other])


def test_a_caption_that_is_the_same_for_all_images_gains_little(
    model: TrainedCaptioner, captioner: Captioner
) -> None:
    """The log-probability of such a text is high all the same: that is why there is a score."""
    same = [model.captions()[0]] * len(model.samples)
    gains = [made.gain for made in Scorer(captioner).score(scorings(model, same))]
    own = [made.gain for made in Scorer(captioner).score(scorings(model, model.captions()))]
    assert np.mean(gains) < np.mean(own) - 0.2


def test_a_score_does_not_depend_on_its_batch(
    model: TrainedCaptioner, captioner: Captioner
) -> None:
    """Beside captions of other lengths, in another order, alone."""
    scorer = Scorer(captioner)
    asked = [Scoring(a.pixels, a.question, a.caption) for a in odd(model)[:25]]
    together = [made.gain for made in scorer.score(asked)]
    alone = [scorer.score([one])[0].gain for one in asked]
    assert together == pytest.approx(alone, abs=1e-5)
    assert [made.gain for made in scorer.score(asked)] == together


def test_a_score_is_the_loss_that_training_sees(
    model: TrainedCaptioner, captioner: Captioner
) -> None:
    """transformers' own loss over the answer's tokens, with the image."""
    asked = scorings(model, model.captions())[0]
    chat, vlm = captioner.chat, captioner.vlm
    prompt = chat.prompt(asked.question)
    answer = [*chat.text_ids(asked.caption), chat.eos_id]
    ids = torch.tensor([prompt + answer])
    labels = torch.tensor([[-100] * len(prompt) + answer])
    pixels = vlm.normalise(torch.from_numpy(asked.pixels[None]))
    with torch.inference_mode():
        loss = vlm.model(input_ids=ids, pixel_values=pixels, labels=labels).loss
    made = Scorer(captioner).score([asked])[0]
    assert made.given_image == pytest.approx(float(loss), abs=1e-5)
    assert made.tokens == len(answer)


def test_a_model_carries_its_reference_where_no_loader_takes_it_for_weights(
    model: TrainedCaptioner, captioner: Captioner
) -> None:
    """vLLM reads every safetensors file beside the weights; the model's digest is of those."""
    assert [path.name for path in model.folder.glob("*.safetensors")] == ["model.safetensors"]
    stored = read_reference(model.folder, captioner.vlm)
    assert stored is not None
    assert captioner.reference is not None
    assert torch.equal(stored, captioner.reference)
    before = folder_digest(model.folder)
    held = (model.folder / REFERENCE_FILE).read_bytes()
    (model.folder / REFERENCE_FILE).unlink()
    try:
        assert folder_digest(model.folder) == before
    finally:
        (model.folder / REFERENCE_FILE).write_bytes(held)


def test_a_model_without_a_reference_is_scored_against_grey(
    model: TrainedCaptioner, captioner: Captioner
) -> None:
    bare = Captioner(captioner.vlm, batch_size=8)
    asked = scorings(model, model.captions())
    grey = Scorer(captioner, reference=grey_embedding(captioner.vlm)).score(asked)
    assert Scorer(bare).score(asked) == grey != Scorer(captioner).score(asked)


def test_another_model_s_reference_is_refused_with_its_shape(
    captioner: Captioner, tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    (tmp_path / REFERENCE_FILE).parent.mkdir()
    save_file({"embedding": torch.zeros(3, 5)}, tmp_path / REFERENCE_FILE)
    with pytest.raises(ValueError, match=r"vila2_reference.* \(3, 5\).*remove the file"):
        read_reference(tmp_path, captioner.vlm)


def test_triton_gives_the_embedded_engine_s_scores(
    model: TrainedCaptioner, embedded: EmbeddedEngine, serving: tuple[Engine, Connection]
) -> None:
    """Also with a queue of ten, and of captions that are empty, long or full of markup."""
    asked = scorings(model, model.captions()) + odd(model)
    assert serving[0].score(asked) == pytest.approx(embedded.score(asked), abs=1e-4)


def test_scores_come_in_order_beside_answers(model: TrainedCaptioner, engine: Engine) -> None:
    """What is being answered goes on, and neither knows of the other."""
    asked = scorings(model, model.captions())
    sampling = Sampling(temperature=0.8, top_p=0.9, max_new_tokens=12)
    questions = [Request(a.pixels, a.question, n, sampling) for n, a in enumerate(asked)]
    expected = [a.text for a in engine.generate(questions, progress=lambda _: None)]
    one_by_one = [engine.score([request])[0] for request in asked[:6]]
    answers: list[str] = []
    thread = threading.Thread(
        target=lambda: answers.extend(
            a.text for a in engine.generate(questions, progress=lambda _: None)
        )
    )
    thread.start()
    scores = engine.score(asked)
    thread.join(60)
    assert answers == expected
    assert scores[:6] == pytest.approx(one_by_one, abs=1e-4)
    assert engine.score([]) == []


def test_scores_are_refused_before_anything_is_captioned_where_an_engine_has_none() -> None:
    """By the field that asked for them, with what would do."""
    abilities = Abilities(no_scores=NO_SCORES)
    asked = CaptionJobIn(name="n", dataset="d", model="m", prompts=["p"], score=True)
    gated = asked.model_copy(update={"score": False, "gate": Gate(min_consistency=0.0)})
    for body, field in ((asked, "score"), (gated, "gate.min_consistency")):
        with pytest.raises(Invalid, match="cannot score captions") as refused:
            check_abilities(body, abilities)
        assert refused.value.field == field
    check_abilities(asked.model_copy(update={"score": False}), abilities)


class Judged(Scripted):
    """A scripted engine whose captions have scripted scores."""

    def __init__(self, *scores: float) -> None:
        super().__init__(lambda *_: GOOD)
        self._scores = list(scores)
        self.scored: list[Scoring] = []

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        self.scored += requests
        return [self._scores.pop(0) for _ in requests]


def rows_of(engine: Judged, count: int = 1, **fields: object) -> list[CaptionRow]:
    return caption_samples([sample(f"k{n}") for n in range(count)], how(**fields), engine)[0]


GATE = Gate(attempts=3, retry_temperature=0.9, min_consistency=0.1)


def test_a_caption_below_the_bound_is_tried_again() -> None:
    """By the ladder of all the other checks: another seed, the retry temperature."""
    engine = Judged(-0.4, 0.09, 0.1)
    (row,) = rows_of(engine, gate=GATE)
    assert (row.status, row.attempt, row.temperature) == (CAPTIONED, 2, 0.9)
    assert row.consistency == 0.1
    assert [request.caption for request in engine.scored] == [GOOD] * 3


def test_one_that_stays_below_is_quarantined_as_inconsistent_with_its_score() -> None:
    (row,) = rows_of(Judged(-0.4, -0.3, -0.2), gate=GATE)
    assert (row.status, row.reason, row.consistency) == (QUARANTINED, "inconsistent", -0.2)
    assert row.attempt == 2


def test_without_a_bound_scores_are_stored_and_nobody_is_rejected() -> None:
    rows = rows_of(Judged(-3.0, 0.5), count=2, score=True)
    assert [(row.status, row.consistency) for row in rows] == [(CAPTIONED, -3.0), (CAPTIONED, 0.5)]


def test_nobody_is_asked_for_scores_that_nobody_wants() -> None:
    engine = Judged()
    (row,) = rows_of(engine)
    assert (row.consistency, engine.scored) == (None, [])


def test_a_text_that_fails_the_other_checks_is_not_scored() -> None:
    """A loop is a loop, however well it fits the image."""
    engine = Judged()
    engine._script = lambda *_: "dog " * 12
    (row,) = rows_of(engine, gate=GATE)
    assert (row.reason, row.consistency, engine.scored) == ("repetition", None, [])


def test_a_request_becomes_the_captioning_that_it_asks_for() -> None:
    body = CaptionJobIn(name="n", dataset="d", model="end", prompts=["p"], gate=GATE, score=True)
    made = Captioning.of(body, model="m-1")
    assert (made.model, made.gate, made.score, made.scored) == ("m-1", GATE, True, True)
