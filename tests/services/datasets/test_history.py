"""Rolling back, comparing layers, and the lineage of one sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.datasets.samples import image
from tests.support.embedded_platform import images, submitted
from vila2.client import ApiError
from vila2.schemas.rest.datasets import LatestIn


def objects(platform: EmbeddedPlatform):
    return platform.apps["datasets"].state.context.objects


def test_a_dataset_goes_back_to_an_earlier_version(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """The bare name means it from then on; the newer one stays, the history says who and why."""
    client = platform.client
    for count in (2, 3):
        submitted(client, images(tmp_path / "foxes", count=count), name="foxes")
    client.datasets.use("foxes", LatestIn(version=1, reason="the new images were wrong"))
    assert client.datasets.version("foxes").samples == 2
    assert client.datasets.version("foxes", 2).samples == 3
    (entry,) = client.datasets.history()
    assert (entry.action, entry.subject) == ("version-in-use", "foxes: 2 -> 1")
    assert entry.detail == "the new images were wrong"


def test_only_a_ready_version_can_be_used(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """An unknown number is an error, not an empty dataset."""
    submitted(platform.client, images(tmp_path / "foxes"), name="foxes")
    with pytest.raises(ApiError, match="has no version 7"):
        platform.client.datasets.use("foxes", LatestIn(version=7))


def test_withdrawing_a_layer_gives_its_name_back_to_the_one_before(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """And restoring it turns that round again; both stand in the history."""
    client = platform.client
    dataset(client, tmp_path / "foxes")
    first, second = (layer(client, objects(platform), name="round") for _ in range(2))
    assert client.datasets.layer("round").id == second.id
    assert client.datasets.withdraw_layer(second.id, "bad prompts").state == "withdrawn"
    assert client.datasets.layer("round").id == first.id
    with pytest.raises(ApiError, match="withdrawn"):
        client.datasets.layer_content(second.id, 0)
    client.datasets.restore_layer(second.id)
    assert client.datasets.layer("round").id == second.id
    actions = [entry.action for entry in client.datasets.history()]
    assert actions == ["layer-sealed", "layer-withdrawn"]


def test_two_layers_are_compared_sample_by_sample(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Same, changed, gained and lost add up to the samples."""
    client = platform.client
    dataset(client, tmp_path / "foxes", count=6)
    before = layer(client, objects(platform), name="a", text="a fox", quarantined=("p1", "p5"))
    after = layer(client, objects(platform), name="b", text="a red fox", quarantined=("p2", "p5"))
    found = client.datasets.diff_layers(after.id, before.id)
    assert (found.changed, found.gained, found.lost, found.neither) == (3, 1, 1, 1)
    assert (found.same, found.shards, found.next) == (0, 3, None)
    assert (found.words_before, found.words_after) == (8, 12)
    assert ("p0", "a fox", "a red fox") in {(e.key, e.before, e.after) for e in found.examples}


def test_layers_of_different_versions_are_not_compared(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """They describe different samples."""
    client = platform.client
    made = []
    for count in (2, 3):
        submitted(client, images(tmp_path / "foxes", count=count), name="foxes")
        made.append(layer(client, objects(platform)))
    with pytest.raises(ApiError, match="different dataset versions") as refused:
        client.datasets.diff_layers(made[1].id, made[0].id)
    assert refused.value.problem.field == "against"


def test_lineage_leads_from_a_caption_back_to_the_image(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Source, digest, the bytes within the tar, and every caption with how it was made."""
    client = platform.client
    dataset(client, tmp_path / "foxes")
    made = layer(client, objects(platform), quarantined=("p3",))
    found = client.datasets.lineage("foxes", 0, "p3")
    assert (found.version, found.shard, found.source) == (1, 1, "p3.png")
    tar = client.datasets.shard_content("foxes", 1, found.shard)
    assert tar[found.offset :].startswith(image(3))
    (caption,) = found.captions
    assert (caption.layer, caption.captioner, caption.reason) == (made.id, "model-1", "repetition")
    with pytest.raises(ApiError, match="no sample 'p9'"):
        client.datasets.lineage("foxes", 0, "p9")


def test_lineage_leads_forward_to_the_models_trained_on_it(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """By the layer, and by the dataset."""
    client = platform.client
    dataset(client, tmp_path / "foxes")
    made = layer(client, objects(platform))
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    names = [
        platform.apps["training"].state.context.registry.add(
            team="local", base_name=name, folder=weights, sha256="0" * 64, parent="",
            job="job-0001", parameters=1, data=data,
        )
        for name, data in (("m1", ["foxes@1", made.id]), ("m2", ["foxes@2"]), ("m3", ["owls@1"]))
    ]  # fmt: skip
    found = client.datasets.lineage("foxes", 1, "p0")
    assert found.models == names[:1]
    assert found.captions[0].models == names[:1]
