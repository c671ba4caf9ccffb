"""Deployments: embedded for the rules, on a real Triton for the swap under load."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.caption_platform import CaptionPlatform, caption_platform, register_model
from tests.support.datasets.samples import image
from tests.support.servers.triton import triton_server
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.engine.golden_set import GOLDEN_FILE
from vila2.model.digest import folder_digest
from vila2.schemas.rest.caption import CaptionsIn, Deployment, DeploymentIn, Requirement
from vila2.schemas.sampling import Gate, Sampling

DATA_URL = "data:image/png;base64," + base64.b64encode(image(3)).decode()


@pytest.fixture(scope="module")
def captioning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptionPlatform]:
    with caption_platform(tmp_path_factory.mktemp("captioning")) as made:
        yield made


def deployed(captioning: CaptionPlatform, endpoint: str, model: str, **fields: Any) -> Deployment:
    """Wait until it is decided."""
    begun = captioning.client.caption.deploy(endpoint, DeploymentIn(model=model, **fields))
    until(lambda: captioning.client.caption.deployment(begun.id).state != "deploying", seconds=90)
    return captioning.client.caption.deployment(begun.id)


def asked(captioning: CaptionPlatform, model: str, *, seed: int = 0) -> str:
    body = CaptionsIn(
        model=model, images=[DATA_URL], prompts=["What is this?"], seed=seed,
        sampling=Sampling(max_new_tokens=8), gate=Gate(attempts=1),
    )  # fmt: skip
    return captioning.client.caption.captions(body).captions[0].caption


def test_an_endpoint_answers_with_the_model_that_was_deployed(captioning: CaptionPlatform) -> None:
    done = deployed(captioning, "first", captioning.model)
    assert (done.state, done.error) == ("active", "")
    assert done.certificate is not None
    assert (done.certificate.items, done.certificate.engine) == (4, "embedded")
    passed = {check.name: check.passed for check in done.certificate.checks}
    assert len(passed) == 7
    assert all(passed.values()), done.certificate
    assert asked(captioning, "first") == asked(captioning, captioning.model)
    assert "first" in [m.name for m in captioning.client.caption.endpoints()]


def test_a_rollback_is_one_call(captioning: CaptionPlatform, tmp_path: Path) -> None:
    other = register_model(captioning.platform, tmp_path / "m", number=2)
    deployed(captioning, "back", captioning.model)
    deployed(captioning, "back", other)
    assert captioning.client.caption.endpoint("back").model == other
    begun = captioning.client.caption.rollback("back")
    until(lambda: captioning.client.caption.deployment(begun.id).state == "active", seconds=60)
    endpoint = captioning.client.caption.endpoint("back")
    assert (endpoint.model, endpoint.previous) == (captioning.model, other)
    until(
        lambda: (
            [d.state for d in captioning.client.caption.endpoint("back").deployments]
            == ["active", "retired", "retired"]
        ),
        seconds=60,
    )


def test_a_model_that_answers_otherwise_than_its_trainer_is_refused(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    """Its golden answers are another model's; the endpoint stays with the one before."""
    deployed(captioning, "guarded", captioning.model)
    wrong = register_model(captioning.platform, tmp_path / "m", number=3)
    key = f"models/{wrong}/{GOLDEN_FILE}"
    items = [{**item, "text": "a fox, says the trainer"}
             for item in json.loads(captioning.objects.get(key))]  # fmt: skip
    captioning.objects.put(key, json.dumps(items).encode())
    refused = deployed(captioning, "guarded", wrong)
    assert refused.state == "failed"
    assert "0 of 4 golden answers" in refused.error
    assert "a fox, says the trainer" in refused.error
    assert captioning.client.caption.endpoint("guarded").model == captioning.model
    # Whoever knows better says so.
    assert deployed(captioning, "guarded", wrong, golden=False).state == "active"


def test_a_model_without_a_golden_set_needs_a_word(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    bare = register_model(captioning.platform, tmp_path / "m", number=4, golden=False)
    refused = deployed(captioning, "bare", bare)
    assert refused.state == "failed"
    assert "golden=false" in refused.error
    with pytest.raises(ApiError, match="has no model yet"):
        asked(captioning, "bare")
    assert deployed(captioning, "bare", bare, golden=False).state == "active"


def evaluated(captioning: CaptionPlatform, model: str, value: float, *, job: str) -> None:
    """The model has this score, with an interval of 0.1 to each side."""
    score = {"benchmark": "scenes", "n": 40, "score": value, "low": value - 0.1,
             "high": value + 0.1}  # fmt: skip
    captioning.platform.apps["training"].state.context.registry.record_evaluations(
        "local", model, job=job, version="scenes@1", scores=[score]
    )


def test_requirements_that_are_met_are_kept_as_evidence(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    model = register_model(captioning.platform, tmp_path / "m", number=5)
    evaluated(captioning, model, 0.5, job="job-a")
    require = [
        Requirement(benchmark="scenes", minimum=0.5),
        Requirement(benchmark="scenes", minimum=0.4, bound="low"),
    ]
    done = deployed(captioning, "kept", model, require=require, note="looks good")
    assert (done.state, done.error, done.require) == ("active", "", require)
    assert (done.by, done.note) == (captioning.client.identity.whoami().key, "looks good")
    assert done.digest == captioning.client.training.model(model).sha256
    assert [held.job for held in done.evaluations] == ["job-a"]


def test_requirements_that_are_not_met_fail_with_every_reason(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    """The endpoint stays, the model is not loaded, and the evidence tells what was looked at."""
    deployed(captioning, "strict", captioning.model)
    model = register_model(captioning.platform, tmp_path / "m", number=6)
    evaluated(captioning, model, 0.5, job="job-b")
    require = [
        Requirement(benchmark="scenes", minimum=0.6),
        Requirement(benchmark="pope", minimum=0.8),
    ]
    refused = deployed(captioning, "strict", model, require=require)
    assert refused.state == "failed"
    assert refused.error == (
        "scenes: score 0.5000 is below 0.6 (job job-b, scenes@1); pope: not evaluated"
    )
    assert (len(refused.evaluations), refused.certificate) == (1, None)
    assert refused.digest == captioning.client.training.model(model).sha256
    assert captioning.client.caption.endpoint("strict").model == captioning.model


def test_weights_that_changed_in_the_store_are_not_deployed(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    """Nor may they with golden=false."""
    model = register_model(captioning.platform, tmp_path / "m", number=7)
    key = f"models/{model}/config.json"
    captioning.objects.put(key, captioning.objects.get(key) + b"\n")
    for golden in (True, False):
        refused = deployed(captioning, "changed", model, golden=golden)
        assert refused.state == "failed"
        assert "not those that were registered" in refused.error
        assert refused.digest not in ("", captioning.client.training.model(model).sha256)


@pytest.mark.parametrize(("content", "words"), [
    ("[]", "golden set is empty"), ("{", "cannot be read"), ('[{"question": 1}]', "cannot be read"),
])  # fmt: skip
def test_a_golden_set_that_compares_nothing_fails(
    captioning: CaptionPlatform, tmp_path: Path, content: str, words: str
) -> None:
    model = register_model(captioning.platform, tmp_path / "m", number=8, golden=False)
    captioning.objects.put(f"models/{model}/{GOLDEN_FILE}", content.encode())
    refused = deployed(captioning, "nothing", model)
    assert (refused.state, words in refused.error) == ("failed", True), refused.error


def test_a_golden_item_that_is_no_number_fails(captioning: CaptionPlatform, tmp_path: Path) -> None:
    """Python's JSON reads NaN, and no comparison with it is true."""
    model = register_model(captioning.platform, tmp_path / "m", number=9)
    key = f"models/{model}/{GOLDEN_FILE}"
    items = json.loads(captioning.objects.get(key))
    items[0]["logprob"] = float("nan")
    captioning.objects.put(key, json.dumps(items).encode())
    refused = deployed(captioning, "nan", model)
    assert refused.state == "failed"
    assert "not a finite number" in refused.error
    assert refused.certificate is not None
    values = {check.name: check.value for check in refused.certificate.checks}
    assert (values["greedy answers"], values["log-probabilities"]) == (1.0, None)


def test_a_model_that_does_not_load_fails(captioning: CaptionPlatform, tmp_path: Path) -> None:
    """Its files are those that were registered, and no model."""
    folder = tmp_path / "m"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (folder / name).write_text("{}")
    model = captioning.platform.apps["training"].state.context.registry.add(
        team="local", base_name="broken", folder=folder, sha256=folder_digest(folder),
        parent="", job="job-0010", parameters=1, data=[],
    )  # fmt: skip
    refused = deployed(captioning, "broken", model, golden=False)
    assert refused.state == "failed"
    assert "holds no image processor" in refused.error


def test_a_layer_names_the_model_not_the_endpoint(captioning: CaptionPlatform) -> None:
    """What the endpoint answers with later does not change what the layer is of."""
    deployed(captioning, "layers", captioning.model)
    job = captioning.client.caption.start_job(captioning.job(model="layers"))
    assert job.model == captioning.model
    until(lambda: captioning.client.caption.job(job.id).state == "sealed", seconds=60)
    assert captioning.client.datasets.layer(job.layer).captioner == captioning.model


def test_what_is_not_there_is_named(captioning: CaptionPlatform) -> None:
    with pytest.raises(ApiError, match="nobody"):
        captioning.client.caption.deploy("first", DeploymentIn(model="nobody"))
    with pytest.raises(ApiError, match="no endpoint 'nowhere'"):
        captioning.client.caption.rollback("nowhere")
    deployed(captioning, "once", captioning.model)
    with pytest.raises(ApiError, match="had no other model"):
        captioning.client.caption.rollback("once")


@pytest.mark.server
def test_a_swap_under_load_fails_no_request(tmp_path: Path) -> None:
    """On Triton, four callers all the while; every answer is one model's or the other's."""
    triton_server(tmp_path / "probe")  # skips, or fails, where there is none
    with caption_platform(tmp_path, triton=True) as captioning:
        other = register_model(captioning.platform, tmp_path / "m", number=2)
        deployed(captioning, "captioner", captioning.model)
        expected = {name: asked(captioning, name) for name in (captioning.model, other)}
        assert len(set(expected.values())) == 2
        ending = threading.Event()
        answers: list[str] = []
        failures: list[Exception] = []

        def load() -> None:
            while not ending.is_set():
                try:
                    answers.append(asked(captioning, "captioner"))
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for model in (other, captioning.model, other):
            assert deployed(captioning, "captioner", model).state == "active"
            before = len(answers)
            until(lambda seen=before: len(answers) > seen + 20, seconds=30)
        ending.set()
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert set(answers) == set(expected.values())
        assert answers[-1] == expected[other]
