"""Caption jobs by an endpoint: budgets, what a killed shard keeps, new versions."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.caption.jobs import kept_chunks
from services.caption.settings import CaptionSettings
from services.platform.embedded import EmbeddedPlatform
from tests.support.embedded_platform import images, submitted
from tests.support.servers.odd_endpoint import Reply, completion, odd_endpoint
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.client.add_model import ModelRefused, add_endpoint
from vila2.schemas.endpoint_model import EndpointModel, Prices
from vila2.schemas.rest.caption import CaptionJob, CaptionJobIn

COUNT = 100
PER_REQUEST = 0.01


class Endpoint:
    """Answers with a number of its own, and counts the requests for each image."""

    def __init__(self) -> None:
        self.images: Counter[str] = Counter()
        self.pause = 0.0
        self._lock = threading.Lock()

    def answer(self, number: int, asked: dict[str, Any]) -> Reply:
        image = asked["messages"][0]["content"][0]["image_url"]["url"]
        with self._lock:
            self.images[image] += 1
        time.sleep(self.pause)
        return Reply(completion(f"a fox beside the {number}th tree"))


@contextmanager
def platform(folder: Path) -> Iterator[tuple[EmbeddedPlatform, Endpoint]]:
    endpoint = Endpoint()
    with (
        odd_endpoint(endpoint.answer) as (url, _),
        EmbeddedPlatform(folder / "w", captioning=CaptionSettings(endpoints="*")) as opened,
    ):
        submitted(opened.client, images(folder / "i", count=COUNT), name="foxes",
                  shard_samples=COUNT)  # fmt: skip
        prices = Prices(image=PER_REQUEST)
        spec = EndpointModel(url=url, model="odd", prices=prices, concurrency=4)
        add_endpoint(opened.client, spec, name="odd")
        endpoint.images.clear()
        yield opened, endpoint


def job(**fields: Any) -> CaptionJobIn:
    given: dict[str, Any] = {
        "name": "odd",
        "dataset": "foxes",
        "model": "odd",
        "prompts": ["what?"],
    }
    return CaptionJobIn(**given | fields)


def ended(client: Client, job_id: str) -> CaptionJob:
    until(lambda: client.caption.job(job_id).state != "running", seconds=60)
    return client.caption.job(job_id)


def test_a_budget_pauses_a_job_before_it_is_exceeded_and_a_new_one_goes_on(tmp_path: Path) -> None:
    with platform(tmp_path) as (opened, endpoint):
        client = opened.client
        budget = 0.4 * COUNT * PER_REQUEST
        made = ended(client, client.caption.start_job(job(budget=budget)).id)
        assert made.state == "paused"
        assert "budget" in made.progress.phase
        assert 0 < made.cost <= budget
        assert made.cost == pytest.approx(endpoint.images.total() * PER_REQUEST)
        with pytest.raises(ApiError, match="is spent already"):
            client.caption.resume_job(made.id, budget=made.cost / 2)
        client.caption.resume_job(made.id, budget=10.0)
        until(lambda: client.caption.job(made.id).state == "sealed", seconds=60)
        assert client.caption.job(made.id).captioned == COUNT


def test_a_budget_needs_prices(tmp_path: Path) -> None:
    with platform(tmp_path) as (opened, _):
        spec = client_spec(opened)
        add_endpoint(opened.client, spec.model_copy(update={"prices": Prices()}), name="free")
        with pytest.raises(ApiError, match="has no prices") as refused:
            opened.client.caption.start_job(job(model="free", budget=1.0))
        assert refused.value.problem.field == "budget"


def client_spec(opened: EmbeddedPlatform) -> EndpointModel:
    origin = opened.client.training.model("odd").origin
    assert origin is not None
    assert origin.endpoint is not None
    return origin.endpoint


def test_a_process_that_ends_in_the_middle_of_a_shard_loses_a_chunk_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one asks only about the images whose answers were not kept."""
    monkeypatch.setattr(kept_chunks, "_WORTH_KEEPING_SECONDS", 0.0)
    with platform(tmp_path) as (opened, endpoint):
        endpoint.pause = 0.05
        made = opened.client.caption.start_job(job())
        until(lambda: endpoint.images.total() > 0.6 * COUNT, seconds=60)
        opened.__exit__(None, None, None)
        kept = endpoint.images.total()
        endpoint.pause = 0.0
        with EmbeddedPlatform(tmp_path / "w", captioning=CaptionSettings(endpoints="*")) as again:
            done = ended(again.client, made.id)
            layer = again.client.datasets.layer(done.layer)
        assert (done.state, done.captioned, layer.captioned) == ("sealed", COUNT, COUNT)
        assert len(endpoint.images) == COUNT
        assert endpoint.images.total() < COUNT + kept
        assert list((tmp_path / "w" / "objects" / "layers").rglob("parts/*.parquet")) == []


def test_a_new_version_captions_only_its_new_and_changed_samples(tmp_path: Path) -> None:
    with platform(tmp_path) as (opened, endpoint):
        client = opened.client
        first = ended(client, client.caption.start_job(job()).id)
        endpoint.images.clear()
        submitted(client, images(tmp_path / "more", count=COUNT + 7), name="foxes",
                  shard_samples=30)  # fmt: skip
        body = job(version=2, mode="keep", base_layer=first.layer)
        second = ended(client, client.caption.start_job(body).id)
        assert (second.state, second.captioned) == ("sealed", COUNT + 7)
        assert endpoint.images.total() == 7


def test_the_same_request_with_another_budget_is_the_same_job(tmp_path: Path) -> None:
    with platform(tmp_path) as (opened, _):
        first = opened.client.caption.start_job(job(), "token")
        again = opened.client.caption.start_job(job(budget=5.0), "token")
        assert first.id == again.id


def test_an_endpoint_that_does_not_answer_is_not_registered(tmp_path: Path) -> None:
    with platform(tmp_path) as (opened, _):
        spec = EndpointModel(url="http://127.0.0.1:9/v1", model="nobody")
        with pytest.raises(ModelRefused, match="cannot be reached"):
            add_endpoint(opened.client, spec, name="nobody")
        assert [model.short_name for model in opened.client.training.models()] == ["odd"]
