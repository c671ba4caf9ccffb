from __future__ import annotations

import io
from pathlib import Path

import pytest
from google.protobuf import json_format
from PIL import Image

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import encoded, image, png_claiming
from tests.support.embedded_platform import client_with, images, submitted
from vila2.client import ApiError, Client
from vila2.data.shards import read_shard
from vila2.wire.manifests_pb2 import DatasetManifest


def mixed(folder: Path) -> Path:
    """Four good images and one of each kind of bad one."""
    images(folder)
    bad = {
        "cut.png": image(90, size=(64, 64))[:200],
        "nothing.png": b"",
        "renamed.jpg": encoded(Image.new("RGB", (8, 8), "red"), "TGA"),
        "twice.png": image(0),
        "bomb.png": png_claiming(60_000, 60_000),
        "wordless.png": image(91),
    }
    for name, data in bad.items():
        (folder / name).write_bytes(data)
        (folder / name).with_suffix(".txt").write_text("" if name == "wordless.png" else name)
    return folder


def test_good_images_make_a_version_and_bad_ones_are_counted_by_reason(
    client: Client, tmp_path: Path
) -> None:
    """Every image is either a sample or under a reason; no reason holds two kinds of fault."""
    version = submitted(client, mixed(tmp_path / "mixed"), name="mixed")
    assert (version.state, version.version, version.samples) == ("ready", 1, 4)
    assert sum(version.rejected.values()) == 6
    assert set(version.rejected.values()) == {1}
    assert {"caption-empty", "duplicate-image"} <= set(version.rejected)


def test_each_rejection_names_its_file_and_what_to_do(client: Client, tmp_path: Path) -> None:
    """The submitter can mend the folder with nothing but the examples."""
    version = submitted(client, mixed(tmp_path / "mixed"), name="mixed")
    examples = client.datasets.rejected("mixed", version.version)
    told = {Path(example.source).name: example for example in examples}
    assert set(told) == {
        "cut.png", "nothing.png", "renamed.jpg", "twice.png", "bomb.png", "wordless.png",
    }  # fmt: skip
    for name, example in told.items():
        assert name in example.detail
        assert len(example.detail) > len(example.source) + 20, "a reason without a remedy"
    assert "convert it" in told["renamed.jpg"].detail


def test_samples_come_back_as_they_were_submitted(client: Client, tmp_path: Path) -> None:
    """Images byte for byte, captions as written."""
    submitted(client, images(tmp_path / "foxes"), name="foxes", shard_samples=3)
    shards = client.datasets.shards("foxes")
    assert [shard.samples for shard in shards] == [3, 1]
    samples = [
        sample
        for shard in shards
        for sample in read_shard(io.BytesIO(client.datasets.shard_content("foxes", 0, shard.index)))
    ]
    assert {(s.image, s.caption) for s in samples} == {(image(n), f"fox {n}") for n in range(4)}


def test_submitting_the_same_folder_again_finds_the_same_version(
    client: Client, tmp_path: Path
) -> None:
    """A submission is named by its content, so repeating it is safe."""
    folder = images(tmp_path / "foxes")
    first = submitted(client, folder, name="foxes")
    assert submitted(client, folder, name="foxes") == first


def test_a_changed_folder_is_a_new_version_beside_the_old_one(
    client: Client, tmp_path: Path
) -> None:
    """The old version stays as it was, and the newest is what is found without a number."""
    folder = images(tmp_path / "foxes")
    first = submitted(client, folder, name="foxes")
    held = client.datasets.shard_content("foxes", 1, 0)
    (folder / "p0.txt").write_text("another fox")
    second = submitted(client, folder, name="foxes")
    assert (second.version, client.datasets.version("foxes").version) == (2, 2)
    assert client.datasets.version("foxes", 1) == first
    assert client.datasets.shard_content("foxes", 1, 0) == held


def test_a_folder_without_one_good_image_fails_with_the_counts(
    client: Client, tmp_path: Path
) -> None:
    """There is no empty version; the reasons are in the error and beside it."""
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    (tmp_path / "bad" / "a.txt").write_text("nothing to see")
    version = submitted(client, tmp_path / "bad", name="bad")
    assert version.state == "failed"
    assert "no sample was admitted" in version.error
    assert sum(version.rejected.values()) == 1
    with pytest.raises(ApiError, match="no ready version"):
        client.datasets.shards("bad")


def test_a_dataset_keeps_its_kind(client: Client, tmp_path: Path) -> None:
    """Conversations cannot be added to pairs."""
    from vila2.schemas.rest.datasets import DatasetIn

    client.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    with pytest.raises(ApiError, match="exists with kind pairs") as refused:
        client.datasets.create(DatasetIn(name="foxes", kind="benchmark"))
    assert (refused.value.problem.status, refused.value.problem.field) == (409, "kind")


def test_another_team_sees_nothing_of_a_dataset(tmp_path: Path) -> None:
    """Not its name, its versions, its images or its layers; and may use the name itself."""
    workspace = tmp_path / "workspace"
    with EmbeddedPlatform(workspace) as platform:
        submitted(platform.client, images(tmp_path / "foxes"), name="foxes")
        blue = client_with(platform, platform.identity.keys.issue(team="blue"))
        assert blue.datasets.all() == []
        for look in (
            lambda: blue.datasets.version("foxes", 1),
            lambda: blue.datasets.shards("foxes", 1),
            lambda: blue.datasets.rejected("foxes", 1),
            lambda: blue.datasets.shard_content("foxes", 1, 0),
            lambda: blue.datasets.seal_version("foxes", 1),
            lambda: blue.datasets.put_part("foxes", 1, 0, b"\0" * 10240),
        ):
            with pytest.raises(ApiError) as refused:
                look()
            assert refused.value.problem.status == 404
        other = submitted(blue, images(tmp_path / "owls", count=2, first=50), name="foxes")
        assert (other.version, other.samples) == (1, 2)
        assert platform.client.datasets.version("foxes").samples == 4


def test_the_stored_manifest_is_the_proto_message(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """What lies beside the shards can be read without the database, and adds up."""
    version = submitted(platform.client, mixed(tmp_path / "mixed"), name="m", shard_samples=3)
    (path,) = (platform.workspace / "objects" / "datasets").rglob("manifest.json")
    manifest = json_format.Parse(path.read_text(), DatasetManifest())
    assert (manifest.dataset, manifest.version, manifest.team) == ("m", 1, "local")
    assert dict(manifest.rejected) == version.rejected
    assert manifest.sha256 == version.sha256
    assert [shard.samples for shard in manifest.shards] == [3, 1]
    assert [s.object_key for s in manifest.shards] == [
        s.object_key for s in platform.client.datasets.shards("m")
    ]
