"""Tars in a real S3 bucket, registered where they lie."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from minio import Minio

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.captioned_datasets import layer
from tests.support.datasets.samples import image, tar_of
from tests.support.servers.seaweedfs import S3Server
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.client.submit import register
from vila2.data.layers import decode_layer_shard
from vila2.data.shards import read_shard
from vila2.schemas.rest.dataset_upkeep import ExcludeIn
from vila2.schemas.rest.datasets import TakedownIn, Version


@dataclass
class Lab:
    """A bucket with two tars of two images each, one of which is broken, and a platform."""

    platform: EmbeddedPlatform
    bucket: Minio

    def put(self, name: str, data: bytes) -> None:
        self.bucket.put_object("images", name, io.BytesIO(data), len(data))

    def register(self, prefix: str = "web", **how) -> Version:
        how.setdefault("name", "web")
        return register(self.platform.client, "lab", prefix, poll_seconds=0.02, **how)


def tar(*numbers: int) -> bytes:
    members = []
    for n in numbers:
        members += [(f"{n:05d}.png", image(n)), (f"{n:05d}.json", json.dumps(
            {"caption": f"fox {n}", "url": f"https://example.org/{n}.png"}).encode())]  # fmt: skip
    return tar_of(*members)


@pytest.fixture
def lab(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    bucket = Minio(s3.endpoint, s3.access_key, s3.secret_key, secure=False)
    if not bucket.bucket_exists("images"):
        bucket.make_bucket("images")
    for old in bucket.list_objects("images", recursive=True):
        bucket.remove_object("images", old.object_name)
    monkeypatch.setenv("LAB_KEY", s3.access_key)
    monkeypatch.setenv("LAB_SECRET", s3.secret_key)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "sources.yaml").write_text(
        f"lab:\n  endpoint: {s3.endpoint}\n  bucket: images\n  secure: false\n"
        "  access_key_env: LAB_KEY\n  secret_key_env: LAB_SECRET\n"
        f"other:\n  endpoint: {s3.endpoint}\n  bucket: images\n  secure: false\n"
        "  access_key_env: LAB_KEY\n  secret_key_env: LAB_SECRET\n  teams: [blue]\n"
    )
    with EmbeddedPlatform(workspace) as platform:
        made = Lab(platform, bucket)
        made.put("web/0.tar", tar(0, 1))
        made.put("web/1.tar", tar(2, 3))
        yield made


def samples(lab: Lab) -> list:
    client = lab.platform.client
    return [
        sample
        for shard in client.datasets.shards("web")
        for sample in read_shard(client.datasets.shard_content("web", 0, shard.index))
    ]


def test_tars_are_registered_without_being_copied(lab: Lab) -> None:
    """The store holds their indexes, and serves the samples as of any other dataset."""
    version = lab.register()
    assert (version.state, version.samples, version.shards) == ("ready", 4, 2), version.error
    assert [(s.image, s.caption) for s in samples(lab)] == [
        (image(n), f"fox {n}") for n in range(4)
    ]
    stored = lab.platform.workspace / "objects"
    assert not any(image(0) in f.read_bytes() for f in stored.rglob("*") if f.is_file())


def test_a_bad_sample_in_a_tar_is_counted_and_the_others_are_used(lab: Lab) -> None:
    """The index lists only what was admitted."""
    lab.put("web/2.tar", tar_of(("x.png", b"no image"), ("x.txt", b"x"),
                                ("y.png", image(9)), ("y.txt", b"fox 9")))  # fmt: skip
    version = lab.register()
    assert version.samples == 5
    assert sum(version.rejected.values()) == 1


def test_captions_join_the_samples_of_a_tar_in_place(lab: Lab) -> None:
    """A layer over it is like any other."""
    lab.register()
    objects = lab.platform.apps["datasets"].state.context.objects
    made = layer(lab.platform.client, objects, dataset="web")
    rows = decode_layer_shard(lab.platform.client.datasets.layer_content(made.id, 1))
    assert [row.key for row in rows] == ["00002", "00003"]


def test_a_tar_that_changes_in_place_is_an_error_and_not_another_image(lab: Lab) -> None:
    """Every image is held against the digest it was registered with."""
    lab.register()
    lab.put("web/0.tar", tar(7, 8))
    with pytest.raises(ApiError) as refused:
        samples(lab)
    assert refused.value.problem.status == 409
    assert "changed" in refused.value.problem.fix


def test_a_take_down_says_what_to_remove_in_the_bucket(lab: Lab) -> None:
    """The store no longer serves the image, and cannot change a bucket that is not its own."""
    lab.register()
    client = lab.platform.client
    found = client.datasets.take_down(
        TakedownIn(dataset="web", key="00001", reason="asked", requested_by="x")
    )
    until(lambda: client.datasets.takedown(found.id).state == "done")
    assert client.datasets.takedown(found.id).left_in_place == ["lab/web/0.tar"]
    assert image(1) not in [sample.image for sample in samples(lab)]


@pytest.mark.parametrize("origin", ["other", "nowhere", "http://127.0.0.1"])
def test_only_a_source_that_the_operator_gave_the_team_can_be_named(lab: Lab, origin: str) -> None:
    """A user can name no address and no bucket."""
    with pytest.raises(ApiError, match="no source") as refused:
        register(lab.platform.client, origin, "web", name="web")
    assert refused.value.problem.field == "origin"
    assert "lab" in refused.value.problem.fix


def test_a_prefix_without_tars_is_a_clear_error(lab: Lab) -> None:
    """It names the prefix."""
    version = lab.register("nothing")
    assert version.state == "failed"
    assert "nothing" in version.error


def test_samples_are_excluded_without_copying_a_tar(lab: Lab) -> None:
    """Each version has indexes of its own, and deleting one leaves the other and the tars."""
    lab.register()
    datasets = lab.platform.client.datasets
    made = datasets.exclude("web", 1, ExcludeIn(keys=["00001"]))
    until(lambda: datasets.version("web", made.version).state != "ingesting")
    assert [sample.image for sample in samples(lab)] == [image(n) for n in (0, 2, 3)]
    deletion = datasets.delete("web", 1)
    until(lambda: datasets.deletion(deletion.id).state == "done")
    assert [sample.image for sample in samples(lab)] == [image(n) for n in (0, 2, 3)]
    assert len(list(lab.bucket.list_objects("images", recursive=True))) == 2
