"""Take-downs: an image leaves every version, layer and future export, and a record stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.datasets.samples import image
from tests.support.embedded_platform import client_with, images, submitted
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.data.layers import decode_layer_shard
from vila2.data.shards import read_shard
from vila2.schemas.rest.datasets import ExportIn, Takedown, TakedownIn

GONE = image(1)
DIGEST = hashlib.sha256(GONE).hexdigest()


def taken_down(client: Client, **given) -> Takedown:
    body = TakedownIn(reason="asked by its owner", requested_by="legal", **given)
    found = client.datasets.take_down(body)
    until(lambda: client.datasets.takedown(found.id).state != "running")
    return client.datasets.takedown(found.id)


def held(client: Client, name: str = "foxes", version: int = 0) -> list[bytes]:
    return [
        sample.image
        for shard in client.datasets.shards(name, version)
        for sample in read_shard(client.datasets.shard_content(name, version, shard.index))
    ]


def everything_stored(platform: EmbeddedPlatform) -> bytes:
    files = (platform.workspace / "objects").rglob("*")
    return b"".join(file.read_bytes() for file in files if file.is_file())


def test_an_image_leaves_every_version_that_holds_it(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Whichever version or dataset it came in with; the others' samples stay."""
    client = platform.client
    dataset(client, tmp_path / "foxes")
    dataset(client, tmp_path / "owls", name="owls", count=2)
    record = taken_down(client, dataset="foxes", key="p1")
    assert (record.state, record.sha256, record.samples) == ("done", DIGEST, 2)
    assert record.versions == ["foxes@1", "owls@1"]
    assert held(client) == [image(n) for n in (0, 2, 3)]
    assert held(client, "owls") == [image(0)]
    version = client.datasets.version("foxes")
    assert (version.samples, version.taken_down) == (3, 1)


def test_nothing_of_its_bytes_is_left_in_the_store(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Neither in a shard, an upload nor a hash of how it looks."""
    dataset(platform.client, tmp_path / "foxes")
    assert GONE in everything_stored(platform)
    taken_down(platform.client, sha256=DIGEST)
    assert GONE not in everything_stored(platform)
    assert DIGEST.encode() not in everything_stored(platform)


def test_its_captions_leave_the_layers_and_the_counts_stay_true(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Rows still follow the shard's samples, and the layer stays sealed."""
    client, store = platform.client, platform.apps["datasets"].state.context.objects
    dataset(client, tmp_path / "foxes")
    made = layer(client, store, quarantined=("p0",))
    record = taken_down(client, dataset="foxes", key="p1")
    assert (record.captions, record.layers) == (1, [made.id])
    after = client.datasets.layer(made.id)
    assert (after.state, after.captioned, after.quarantined) == ("sealed", 2, {"repetition": 1})
    rows = decode_layer_shard(client.datasets.layer_content(made.id, 0))
    assert [row.key for row in rows] == ["p0"]


def test_a_layer_that_was_being_made_is_accepted_without_it(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """A captioner that read the shard before the take-down still counts the image."""
    client, store = platform.client, platform.apps["datasets"].state.context.objects
    dataset(client, tmp_path / "foxes")
    stale = layer(client, store, seal=False, shards=0)
    before = client.datasets.shard_content("foxes", 1, 0)
    taken_down(client, sha256=DIGEST)
    from tests.support.datasets.samples import caption_row
    from vila2.data.layers import encode_layer_shard
    from vila2.schemas.rest.datasets import LayerShardIn

    rows = [caption_row(s.key, sha256=s.sha256) for s in read_shard(before)]
    data, summary = encode_layer_shard(rows)
    store.put(f"layers/{stale.id}/000000-1.parquet", data)
    recorded = client.datasets.put_layer_shard(
        stale.id,
        0,
        LayerShardIn(
            object_key=f"layers/{stale.id}/000000-1.parquet",
            sha256=summary.sha256,
            captioned=summary.captioned,
            quarantined={},
        ),
    )
    assert recorded.captioned == 1


def test_it_is_not_taken_in_again(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """A later submission of the same folder counts it as taken down."""
    dataset(platform.client, tmp_path / "foxes")
    taken_down(platform.client, sha256=DIGEST)
    again = submitted(platform.client, images(tmp_path / "again", count=3), name="again")
    assert (again.samples, again.rejected) == (2, {"taken-down": 1})


def test_the_record_names_exports_that_were_made_before(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """What has left the store cannot be called back; whoever holds it can be told."""
    dataset(platform.client, tmp_path / "foxes")
    asked = ExportIn(dataset="foxes", format="txt", text="original")
    before = platform.client.datasets.begin_export(asked)
    record = taken_down(platform.client, sha256=DIGEST)
    assert record.exports == [before.id]
    assert [found.id for found in platform.client.datasets.takedowns()] == [record.id]


def test_asking_twice_gives_one_record(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """A request that is sent again changes nothing."""
    dataset(platform.client, tmp_path / "foxes")
    assert taken_down(platform.client, sha256=DIGEST) == taken_down(platform.client, sha256=DIGEST)


def test_an_image_that_nobody_has_can_be_kept_out(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Its digest is enough, and the record says that nothing was found."""
    record = taken_down(platform.client, sha256=DIGEST)
    assert (record.state, record.samples, record.versions) == ("done", 0, [])
    version = submitted(platform.client, images(tmp_path / "foxes"), name="foxes")
    assert version.rejected == {"taken-down": 1}


def test_a_request_without_an_image_says_what_to_give(client: Client) -> None:
    """A digest, or a sample."""
    with pytest.raises(ApiError, match="sha256") as refused:
        client.datasets.take_down(TakedownIn(reason="because", requested_by="x"))
    assert refused.value.problem.status == 422


def test_another_teams_data_is_not_touched(tmp_path: Path) -> None:
    """A shard of the same content stays for the team that still has the right to it."""
    workspace = tmp_path / "workspace"
    with EmbeddedPlatform(workspace) as platform:
        blue = client_with(platform, platform.identity.keys.issue(team="blue"))
        dataset(platform.client, tmp_path / "foxes")
        dataset(blue, tmp_path / "foxes")
        record = taken_down(platform.client, sha256=DIGEST)
        with pytest.raises(ApiError):
            blue.datasets.takedown(record.id)
        assert held(blue) == [image(n) for n in range(4)]
        assert held(platform.client) == [image(n) for n in (0, 2, 3)]


@pytest.mark.parametrize("point", ["takedown.written", "takedown.recorded"])
def test_a_take_down_that_was_cut_goes_on(
    platform: EmbeddedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Between any two of its steps; the image is counted once."""
    import services.datasets.governance.takedowns as module

    client = platform.client
    dataset(client, tmp_path / "foxes")
    dataset(client, tmp_path / "owls", name="owls", count=2)
    cut = {"left": 1}

    def crashpoint(name: str) -> None:
        if name == point and cut["left"]:
            cut["left"] -= 1
            raise RuntimeError("cut")

    monkeypatch.setattr(module, "crashpoint", crashpoint)
    found = client.datasets.take_down(TakedownIn(sha256=DIGEST, reason="because", requested_by="x"))
    until(lambda: client.datasets.takedown(found.id).state == "done")
    assert client.datasets.takedown(found.id).samples == 2
    assert GONE not in everything_stored(platform)
