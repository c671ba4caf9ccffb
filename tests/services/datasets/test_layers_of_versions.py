from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from services.chassis.storage.objects_directory import DirectoryObjects
from services.datasets.tables import LayerRow
from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import caption_row
from tests.support.embedded_platform import client_with, images, submitted
from vila2.client import ApiError, Client
from vila2.data.layers import QUARANTINED, decode_layer_shard, encode_layer_shard
from vila2.schemas.rest.datasets import (
    ExportIn,
    Layer,
    LayerImport,
    LayerIn,
    LayerShard,
    LayerShardIn,
)
from vila2.wire.manifests_pb2 import LayerManifest


class Captioner:
    """Writes captions into a layer over four foxes in two shards, as the caption service does."""

    def __init__(self, platform: EmbeddedPlatform, folder: Path) -> None:
        self.client = platform.client
        self.objects = DirectoryObjects(platform.workspace / "objects")
        submitted(self.client, images(folder / "foxes"), name="foxes", shard_samples=2)

    def open(self, token: str | None = None, **fields: Any) -> Layer:
        given = {
            "name": "self-1", "dataset": "foxes", "version": 1, "recipe_hash": "h",
            "captioner": "vlm-0", **fields,
        }  # fmt: skip
        return self.client.datasets.open_layer(LayerIn(**given), token)

    def written(self, layer: Layer, shard: int, *, text: str = "a fox") -> LayerShardIn:
        """One caption and one quarantine, put where they belong."""
        rows = [
            caption_row("a", caption=text),
            caption_row("b", caption="", status=QUARANTINED, reason="repetition"),
        ]
        data, summary = encode_layer_shard(rows)
        key = f"layers/{layer.id}/{shard:06d}-1.parquet"
        self.objects.put(key, data)
        return LayerShardIn(
            object_key=key,
            sha256=summary.sha256,
            captioned=summary.captioned,
            quarantined=dict(summary.quarantined),
        )

    def fill(self, layer: Layer, *shards: int) -> Layer:
        for shard in shards:
            layer = self.client.datasets.put_layer_shard(
                layer.id, shard, self.written(layer, shard)
            )
        return layer


@pytest.fixture
def captioner(platform: EmbeddedPlatform, tmp_path: Path) -> Captioner:
    return Captioner(platform, tmp_path)


def refusal(call: Any, *arguments: Any, **options: Any) -> Any:
    with pytest.raises(ApiError) as refused:
        call(*arguments, **options)
    return refused.value.problem


def test_a_layer_counts_captioned_and_quarantined_samples(captioner: Captioner) -> None:
    """Every sample of the version is one or the other once the layer is sealed."""
    layer = captioner.fill(captioner.open(), 0, 1)
    assert (layer.captioned, layer.quarantined) == (2, {"repetition": 2})
    sealed = captioner.client.datasets.seal_layer(layer.id)
    assert (sealed.state, sealed.recorded, sealed.shards) == ("sealed", 2, 2)


@pytest.mark.parametrize("counts", [
    {"captioned": 1, "quarantined": {}}, {"captioned": 2, "quarantined": {"x": 1}},
    {"captioned": -1, "quarantined": {"x": 3}}, {"captioned": 3, "quarantined": {"x": -1}},
])  # fmt: skip
def test_a_shard_with_samples_unaccounted_for_is_refused(
    captioner: Captioner, counts: dict[str, Any]
) -> None:
    """A caption can be missing only for a reason that is counted."""
    layer = captioner.open()
    body = captioner.written(layer, 0).model_copy(update=counts)
    problem = refusal(captioner.client.datasets.put_layer_shard, layer.id, 0, body)
    below_zero = -1 in counts["quarantined"].values()
    wrong = "quarantined.x" if below_zero else "captioned"
    assert (problem.status, problem.field) == (422, wrong)
    assert problem.fix


@pytest.mark.parametrize("key", ["", "../../keys.json", "/etc/passwd", "SHARD", "layers/{id}/no"])
def test_a_layer_takes_only_objects_of_its_own(captioner: Captioner, key: str) -> None:
    """Otherwise its content route would hand out whatever the store holds."""
    layer = captioner.open()
    other = captioner.client.datasets.shards("foxes")[0].object_key
    given = key.replace("SHARD", other).format(id=layer.id)
    body = captioner.written(layer, 0).model_copy(update={"object_key": given})
    problem = refusal(captioner.client.datasets.put_layer_shard, layer.id, 0, body)
    assert (problem.status, problem.field) == (422, "object_key")


def test_a_layer_with_a_shard_missing_cannot_be_sealed(captioner: Captioner) -> None:
    """It says how many are missing."""
    layer = captioner.fill(captioner.open(), 1)
    problem = refusal(captioner.client.datasets.seal_layer, layer.id)
    assert problem.status == 409
    assert "lacks 1 of 2" in problem.detail


def test_a_shard_that_the_version_lacks_is_refused(captioner: Captioner) -> None:
    """A layer follows its version shard by shard."""
    layer = captioner.open()
    body = captioner.written(layer, 2)
    assert refusal(captioner.client.datasets.put_layer_shard, layer.id, 2, body).status == 404


def test_the_first_record_of_a_shard_stays(captioner: Captioner) -> None:
    """A second worker that did the same shard changes nothing, before and after the seal."""
    layer = captioner.fill(captioner.open(), 0, 1)
    second = captioner.written(layer, 0).model_copy(
        update={"captioned": 2, "quarantined": {}, "sha256": "0" * 64}
    )
    assert captioner.client.datasets.put_layer_shard(layer.id, 0, second) == layer
    sealed = captioner.client.datasets.seal_layer(layer.id)
    assert captioner.client.datasets.put_layer_shard(layer.id, 0, second) == sealed
    assert captioner.client.datasets.seal_layer(layer.id) == sealed


def test_an_unsealed_layer_is_read_only_by_who_waives_the_seal(captioner: Captioner) -> None:
    """What may still change does not become training data by accident."""
    datasets = captioner.client.datasets
    layer = captioner.fill(captioner.open(), 0)
    problem = refusal(datasets.layer_content, layer.id, 0)
    assert (problem.status, problem.field) == (409, "export")
    asked = ExportIn(dataset="foxes", layer=layer.id, format="txt", text="recaption")
    assert refusal(datasets.begin_export, asked).field == "waiver"
    waived = datasets.begin_export(asked.model_copy(update={"waiver": "a first look"}))
    rows = decode_layer_shard(datasets.layer_content(layer.id, 0, export=waived.id))
    assert [row.caption for row in rows] == ["a fox", ""]
    assert refusal(datasets.layer_content, layer.id, 1, export=waived.id).status == 404
    assert [(held.waiver, held.layer) for held in datasets.exports()] == [
        ("a first look", layer.id)
    ]


def test_a_waiver_opens_no_other_layer(captioner: Captioner) -> None:
    """It is given for one layer, by its team."""
    datasets = captioner.client.datasets
    layer, other = captioner.fill(captioner.open(), 0), captioner.fill(captioner.open(), 0)
    asked = ExportIn(dataset="foxes", layer=layer.id, format="txt", text="recaption", waiver="why")
    waived = datasets.begin_export(asked)
    assert refusal(datasets.layer_content, other.id, 0, export=waived.id).status == 409
    assert refusal(datasets.layer_content, other.id, 0, export="export-none").status == 404


def test_a_sealed_layer_needs_no_waiver_and_records_none(captioner: Captioner) -> None:
    """The record of an export does not claim an exception that there was not."""
    datasets = captioner.client.datasets
    layer = datasets.seal_layer(captioner.fill(captioner.open(), 0, 1).id)
    asked = ExportIn(dataset="foxes", layer=layer.id, format="txt", text="recaption", waiver="why")
    assert datasets.begin_export(asked).waiver == ""


def test_a_sealed_layer_is_found_by_its_name_and_an_open_one_is_not(
    captioner: Captioner,
) -> None:
    """The newest sealed one, where there are several."""
    datasets = captioner.client.datasets
    captioner.open()
    assert refusal(datasets.layer, "self-1").status == 404
    for _ in range(2):
        layer = captioner.open()
        captioner.fill(layer, 0, 1)
        datasets.seal_layer(layer.id)
    captioner.open()
    assert datasets.layer("self-1").id == layer.id


def test_a_token_gives_the_layer_that_it_opened(captioner: Captioner) -> None:
    """Opening is safe to repeat."""
    first = captioner.open(token="t")
    assert captioner.open(token="t").id == first.id
    assert captioner.open(token="u").id != first.id


def test_a_layer_needs_a_ready_version(captioner: Captioner) -> None:
    """There is nothing to caption otherwise."""
    with pytest.raises(ApiError, match="has no version 9"):
        captioner.open(version=9)


def test_the_manifest_of_a_sealed_layer_is_the_proto_message(
    captioner: Captioner, platform: EmbeddedPlatform
) -> None:
    """It can be read without the database."""
    layer = captioner.fill(captioner.open(), 0, 1)
    path = platform.workspace / "objects" / "layers" / layer.id / "manifest.json"
    assert not path.exists()
    captioner.client.datasets.seal_layer(layer.id)
    manifest = json_format.Parse(path.read_text(), LayerManifest())
    assert (manifest.layer_id, manifest.dataset, manifest.version) == (layer.id, "foxes", 1)
    held = captioner.client.datasets.layer_shards(layer.id)
    assert [shard.object_key for shard in manifest.shards] == [shard.object_key for shard in held]
    assert [dict(shard.quarantined) for shard in manifest.shards] == [{"repetition": 1}] * 2


def test_many_shards_are_recorded_at_once_and_only_the_first_time(captioner: Captioner) -> None:
    """A page in one request; sending it again, or with more, adds what is new."""
    layer, put = captioner.open(), captioner.client.datasets.put_layer_shards
    pages = [
        LayerShard(number=number, **captioner.written(layer, number).model_dump())
        for number in (1, 0)
    ]
    assert put(layer.id, pages[:1]).recorded == 1
    for _ in range(2):
        layer = put(layer.id, pages)
        assert (layer.recorded, layer.captioned, layer.quarantined) == (2, 2, {"repetition": 2})


def test_of_many_shards_none_is_recorded_where_one_is_wrong(captioner: Captioner) -> None:
    """Its number is in the refusal."""
    layer, put = captioner.open(), captioner.client.datasets.put_layer_shards
    good = LayerShard(number=0, **captioner.written(layer, 0).model_dump())
    wrong = LayerShard(number=1, **captioner.written(layer, 1).model_dump() | {"captioned": 7})
    assert "shard 1 has 2 samples" in refusal(put, layer.id, [good, wrong]).detail
    assert captioner.client.datasets.layer(layer.id).recorded == 0


def test_a_layer_that_changes_while_its_manifest_is_written_has_it_written_again(
    captioner: Captioner, platform: EmbeddedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a take-down: what is sealed is what the manifest says."""
    layer = captioner.fill(captioner.open(), 0, 1)
    layers = platform.apps["datasets"].state.context.layers
    write, written = layers.write_manifest, []

    def and_change(layer_id: str) -> None:
        write(layer_id)
        written.append(layer_id)
        if len(written) == 1:
            with layers._database.transaction() as session:
                session.get_one(LayerRow, layer_id).captioned -= 1

    monkeypatch.setattr(layers, "write_manifest", and_change)
    sealed = captioner.client.datasets.seal_layer(layer.id)
    assert (sealed.state, len(written)) == ("sealed", 2)


def imported(client: Client) -> tuple[Layer, dict[str, str]]:
    """Import the captions of `better` for the images of `foxes`: layer, caption by key."""
    layer = client.datasets.import_layer(
        LayerImport(name="better", dataset="foxes", from_dataset="better")
    )
    rows = [
        row
        for number in range(layer.shards)
        for row in decode_layer_shard(client.datasets.layer_content(layer.id, number))
    ]
    return layer, {row.key: row.caption or row.reason for row in rows}


def test_imported_captions_are_matched_by_image(captioner: Captioner, tmp_path: Path) -> None:
    """Names and order do not matter; an image without a caption is quarantined as such."""
    folder = images(tmp_path / "better", count=4, first=1, caption="a better fox {n}")
    (folder / "p1.png").rename(folder / "z-another-name.png")
    (folder / "p1.txt").rename(folder / "z-another-name.txt")
    submitted(captioner.client, folder, name="better")
    layer, captions = imported(captioner.client)
    assert (layer.state, layer.captioned) == ("sealed", 3)
    assert layer.quarantined == {"not-in-import": 1}
    assert captions == {
        "p0": "not-in-import", "p1": "a better fox 1", "p2": "a better fox 2",
        "p3": "a better fox 3",
    }  # fmt: skip


def test_importing_again_finds_the_layer_and_new_captions_make_a_new_one(
    captioner: Captioner, tmp_path: Path
) -> None:
    """A sealed layer keeps its captions when its donor gets a new version."""
    client = captioner.client
    submitted(client, images(tmp_path / "b", caption="better {n}"), name="better")
    first, captions = imported(client)
    assert imported(client)[0] == first
    submitted(client, images(tmp_path / "b", caption="best {n}"), name="better")
    second, best = imported(client)
    assert second.id != first.id
    assert best["p0"] == "best 0"
    held = decode_layer_shard(client.datasets.layer_content(first.id, 0))
    assert {row.key: row.caption for row in held}.items() <= captions.items()


def test_another_team_cannot_reach_a_layer(tmp_path: Path) -> None:
    """Neither read nor fill nor seal it, by id or by name."""
    workspace = tmp_path / "workspace"
    with EmbeddedPlatform(workspace) as platform:
        captioner = Captioner(platform, tmp_path)
        layer = captioner.fill(captioner.open(), 0, 1)
        body = captioner.written(layer, 0)
        captioner.client.datasets.seal_layer(layer.id)
        blue = client_with(platform, platform.identity.keys.issue(team="blue")).datasets
        assert blue.layers() == []
        for name in (layer.id, layer.name):
            assert refusal(blue.layer, name).status == 404
            assert refusal(blue.layer_content, name, 0).status == 404
            assert refusal(blue.seal_layer, name).status == 404
            assert refusal(blue.put_layer_shard, name, 0, body).status == 404
