"""What the registry knows of a model, its card, and how its files are fetched."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from services.chassis.web.errors import NotFound
from services.platform.embedded import EmbeddedPlatform
from services.training.registry.card import model_card
from services.training.registry.registry import Registry
from tests.support.embedded_platform import images, submitted
from tests.support.training.training_service import Service
from tests.support.waiting import until
from vila2.client.training import DownloadDiffers
from vila2.model.digest import folder_digest
from vila2.schemas.rest.training import (
    Evaluation,
    JobIn,
    LineageItem,
    ModelDetails,
    SourceIn,
    StageIn,
    TrainIn,
)

SCORES = [{"benchmark": "scenes", "n": 40, "score": 0.5, "low": 0.4, "high": 0.6}]


def details(**fields: object) -> ModelDetails:
    return ModelDetails.model_validate(
        {
            "name": "round-1-abcdef01-1234", "sha256": "ab" * 32, "parent": "base", "job": "job-1",
            "object_prefix": "models/x", "parameters": 1234567, "data": ["foxes@2"], **fields,
        }
    )  # fmt: skip


def evaluation(**fields: object) -> Evaluation:
    return Evaluation.model_validate(
        {
            "model": "m", "benchmark": "scenes", "version": "scenes-test@1", "value": 0.5,
            "low": 0.4, "high": 0.6, "items": 40, "job": "job-2", "at": 1.0, **fields,
        }
    )  # fmt: skip


LAYER = {
    "alias": "self", "layer": "l-1", "name": "round-1", "recipe_hash": "feed" * 8,
    "captioner": "base-1",
}  # fmt: skip


def item(**fields: object) -> LineageItem:
    return LineageItem.model_validate(
        {"stage": "sft", "dataset": "foxes", "version": 2, "samples": 4, **fields}
    )


def test_a_card_has_the_header_that_the_hub_reads() -> None:
    card = ModelCard(model_card(details(evaluations=[evaluation()], lineage=[item()])))
    assert card.data.pipeline_tag == "image-text-to-text"
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_value) == ("scenes-test@1", 0.5)
    assert "license" not in card.data.to_dict()


def test_a_card_tells_data_layers_scores_and_limits() -> None:
    text = model_card(details(evaluations=[evaluation()], lineage=[item(layers=[LAYER])]))
    for words in ("foxes@2", "round-1 by base-1", "feedfeedfeedfeed", "0.500 (0.400 to 0.600)",
                  "## Limits", "1,234,567", "foxes: not stated"):  # fmt: skip
        assert words in text
    assert "synthetic-captions" in text


def test_a_licence_is_named_only_where_all_data_has_it() -> None:
    """And never guessed."""
    both = [item(licence="CC-BY-4.0"), item(dataset="cats", licence="CC-BY-4.0")]
    assert "license_name: CC-BY-4.0" in model_card(details(lineage=both))
    mixed = [*both, item(dataset="dogs")]
    text = model_card(details(lineage=mixed))
    assert "license_name" not in text
    assert "dogs: not stated" in text


def test_the_newest_score_of_a_benchmark_stands_in_the_card() -> None:
    text = model_card(details(evaluations=[evaluation(value=0.9, at=2.0), evaluation()]))
    assert "0.900" in text
    assert "0.500" not in text


def test_names_from_users_are_text_in_a_card() -> None:
    hostile = item(dataset="x|<script>", stage="a\n## Limits\nnone", licence="---\nevil: 1")
    text = model_card(details(lineage=[hostile]))
    assert "<script>" not in text
    assert text.count("\n## Limits\n") == 1
    assert set(yaml.safe_load(text.split("\n---\n")[0])) <= {
        "license", "license_name", "pipeline_tag", "library_name", "tags",
    }  # fmt: skip


@pytest.fixture
def registry(service: Service) -> Registry:
    return service.context.registry


def a_model(service: Service, *, job: str = "job-0001") -> str:
    """A folder that looks like a model's, with its right digest."""
    folder = service.folder / job
    folder.mkdir()
    for name in ("model.safetensors", "config.json", "vila2_golden.json"):
        (folder / name).write_text(f"{name} of {job}")
    return add(service.context.registry, folder, folder_digest(folder), job=job)


def add(registry: Registry, folder: Path, sha256: str, *, job: str = "job-0001") -> str:
    return registry.add(
        team="local", base_name="m", folder=folder, sha256=sha256, parent="base", job=job,
        parameters=7, data=[],
    )  # fmt: skip


def test_equal_weights_of_jobs_whose_ids_end_alike_are_two_models(
    service: Service, registry: Registry
) -> None:
    """Of two teams too: one would have been given the model of the other."""
    folder = service.folder / "same"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    jobs = ["job-00000000beef", "job-11111111beef", "job-22221111beef"]
    names = [add(registry, folder, "ab" * 32, job=job) for job in jobs]
    assert len(set(names)) == 3
    assert [add(registry, folder, "ab" * 32, job=job) for job in jobs] == names
    assert {model.job for model in registry.of_team("local")} == set(jobs)


def test_scores_are_kept_with_their_job_once(service: Service, registry: Registry) -> None:
    model = a_model(service)
    for _ in range(2):
        registry.record_evaluations("local", model, job="job-2", version="s@1", scores=SCORES)
    (held,) = registry.details("local", model).evaluations
    assert (held.benchmark, held.version, held.value, held.items, held.job) == (
        "scenes", "s@1", 0.5, 40, "job-2",
    )  # fmt: skip


def test_the_card_beside_the_weights_follows_what_is_learnt(
    service: Service, registry: Registry
) -> None:
    """Its digest does not change by it."""
    model = a_model(service)
    registry.write_cards()
    key = f"models/{model}/README.md"
    assert "Not evaluated yet" in service.objects.get(key).decode()
    registry.record_evaluations("local", model, job="job-2", version="s@1", scores=SCORES)
    registry.write_cards()
    assert service.objects.get(key).decode() == registry.card("local", model)
    assert "0.500 (0.400 to 0.600)" in registry.card("local", model)
    held = registry.get("local", model)
    assert folder_digest(service.objects.local(held.object_prefix)) == held.sha256


@pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", "..", "README.md", "lost"])
def test_only_the_files_of_a_model_are_handed_out(
    service: Service, registry: Registry, name: str
) -> None:
    """A name is not a path."""
    model = a_model(service)
    with pytest.raises(NotFound, match="no file"):
        registry.file("local", model, name)


@pytest.mark.usefixtures("made_jobs")
@pytest.mark.parametrize("named", ["foxes", "foxes@1"])
def test_a_model_tells_the_versions_that_it_was_trained_on(
    platform: EmbeddedPlatform, tmp_path: Path, named: str
) -> None:
    """By number, also where the job named none; a version that is made later changes nothing."""
    client = platform.client
    submitted(client, images(tmp_path / "p"), name="foxes")
    source = SourceIn(dataset=named, assembly={"policy": "original"})
    stage = StageIn(
        name="sft", steps=5, batch_size=1, lr=1.0, trainable=["projector"], sources=[source]
    )
    train = TrainIn(init="new", preset="succeed", stages=[stage], tokenizer_datasets=[named])
    job = client.training.submit(JobIn(name="m", run="run-1", train=train)).id
    until(lambda: client.training.job(job).state == "succeeded")
    model = client.training.model_details(client.training.job(job).model)
    assert (model.data, model.run) == (["foxes@1"], "run-1")
    (read,) = model.lineage
    assert (read.stage, read.dataset, read.version, read.samples) == ("sft", "foxes", 1, 4)
    assert read.sha256 == client.datasets.version("foxes", 1).sha256
    assert model.config["tokenizer_datasets"] == ["foxes@1"]
    assert client.training.serving(model.name).endpoints == []


def test_a_download_is_checked_and_goes_on_where_it_stopped(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    context = platform.apps["training"].state.context
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"w" * 3_000_000)
    (folder / "config.json").write_text("{}")
    name = add(context.registry, folder, folder_digest(folder))
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"w" * 10)  # cut short
    platform.client.training.download_model(name, out)
    assert folder_digest(out) == context.registry.get("local", name).sha256
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors", "config.json", "README.md",
    }  # fmt: skip
    (out / "more.safetensors").write_text("of another model")
    with pytest.raises(DownloadDiffers, match="use an empty folder"):
        platform.client.training.download_model(name, out)
