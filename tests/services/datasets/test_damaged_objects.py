"""A byte of the store that changed is noticed by whoever reads it next.

The message names the dataset, its version, the shard and the command that restores it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.captioned_datasets import layer
from tests.support.datasets.samples import image
from tests.support.embedded_platform import images, submitted
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.client.joined import joined
from vila2.data.errors import Damaged
from vila2.data.stored.intact import check_bytes, check_file
from vila2.doctor import deep
from vila2.schemas.rest.datasets import AuditIn, TakedownIn
from vila2.schemas.stored import Stored


@pytest.fixture
def client(platform: EmbeddedPlatform, tmp_path: Path) -> Client:
    submitted(platform.client, images(tmp_path / "web"), name="web", shard_samples=2)
    return platform.client


def stored(platform: EmbeddedPlatform, folder: str, number: int = 1) -> Path:
    """The file of shard `number` below this folder of the object store."""
    found = (platform.workspace / "objects" / folder).rglob(f"{number:06d}-*")
    return next(path for path in found if path.is_file())


def flip(path: Path, at: int = -1) -> None:
    """Change one bit, and nothing that the file system shows."""
    data, about = bytearray(path.read_bytes()), path.stat()
    data[at if at >= 0 else len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


READERS: dict[str, Callable[[Client, Path], object]] = {
    "content": lambda client, _: client.datasets.shard_content("web", 1, 1),
    "export": lambda client, out: list(joined(client, "web", [], version=1)),
}


@pytest.mark.parametrize("harm", ["changed", "cut", "gone"])
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_shard_is_not_sent(
    platform: EmbeddedPlatform, client: Client, tmp_path: Path, reader: str, harm: str
) -> None:
    """Neither to a client nor into an export."""
    path = stored(platform, "shards")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    hurt(path, harm)
    with pytest.raises(ApiError) as refused:
        READERS[reader](client, tmp_path / "out")
    assert refused.value.problem.type == "urn:vila2:problem:damaged"
    assert refused.value.problem.detail.startswith("shard 1 of web@1 is damaged: ")
    assert refused.value.problem.fix == (
        f"Restore it from a backup: deploy/restore.sh BACKUP {digest}"
    )
    client.datasets.shard_content("web", 1, 0)


def hurt(path: Path, harm: str) -> None:
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-512])
    else:
        flip(path)


def test_a_damaged_index_is_not_read(platform: EmbeddedPlatform, client: Client) -> None:
    """It holds the captions, and where the images are."""
    flip(stored(platform, "indexes"))
    for ask in (
        lambda: client.datasets.shard_index("web", 1, 1),
        lambda: client.datasets.image("web", 1, "p3"),
        lambda: client.datasets.lineage("web", 1, "p3"),
    ):
        with pytest.raises(ApiError, match=r"the index of shard 1 of web@1 is damaged"):
            ask()


def test_a_damaged_image_is_not_shown(platform: EmbeddedPlatform, client: Client) -> None:
    """The other images of its shard are."""
    path = stored(platform, "shards")
    flip(path, path.read_bytes().index(image(3)) + 30)
    assert client.datasets.image("web", 1, "p2") == image(2)
    with pytest.raises(ApiError, match="shard 1 of web@1 is damaged"):
        client.datasets.image("web", 1, "p3")


def test_damaged_captions_are_not_read(platform: EmbeddedPlatform, client: Client) -> None:
    made = layer(
        client, platform.apps["datasets"].state.context.objects, name="short", dataset="web"
    )
    flip(stored(platform, f"layers/{made.id}"))
    client.datasets.layer_content(made.id, 0)
    for ask in (
        lambda: client.datasets.layer_content(made.id, 1),
        lambda: client.datasets.lineage("web", 1, "p3"),
    ):
        with pytest.raises(ApiError, match=f"captions of shard 1 in layer {made.id} is damaged"):
            ask()


def test_an_audit_of_a_damaged_shard_fails_at_once(
    platform: EmbeddedPlatform, client: Client
) -> None:
    flip(stored(platform, "shards"))
    client.datasets.start_audit("web", 1, AuditIn())
    until(lambda: client.datasets.audit("web", 1).state != "running")
    found = client.datasets.audit("web", 1)
    assert found.state == "failed"
    assert "shard 1 of web@1 is damaged" in found.error
    assert "deploy/restore.sh BACKUP" in found.error


def test_a_take_down_does_not_copy_a_damaged_shard(
    platform: EmbeddedPlatform, client: Client
) -> None:
    """The damage would get a digest of its own. Restored, it goes on."""
    path = stored(platform, "shards")
    whole = path.read_bytes()
    flip(path)
    asked = TakedownIn(
        sha256=hashlib.sha256(image(3)).hexdigest(), reason="asked", requested_by="legal"
    )
    made = client.datasets.take_down(asked)
    until(lambda: client.datasets.takedown(made.id).state != "running")
    assert "shard 1 of web@1 is damaged" in client.datasets.takedown(made.id).error
    path.write_bytes(whole)
    client.datasets.take_down(asked)
    until(lambda: client.datasets.takedown(made.id).state == "done")


@given(st.binary(min_size=1, max_size=200), st.data())
def test_no_changed_byte_passes(data: bytes, draw: st.DataObject) -> None:
    """Nor a cut or an addition."""
    what = Stored(what="x", sha256=hashlib.sha256(data).hexdigest(), restore="x")
    assert check_bytes(data, what) == data
    at = draw.draw(st.integers(0, len(data) - 1))
    changed = bytearray(data)
    changed[at] ^= draw.draw(st.integers(1, 255))
    for other in (bytes(changed), data[:at], data + b"\0"):
        with pytest.raises(Damaged):
            check_bytes(other, what)


def test_the_doctor_reads_everything_and_names_what_is_damaged(
    platform: EmbeddedPlatform, client: Client
) -> None:
    """Every damaged shard, whatever else is."""
    objects = platform.apps["datasets"].state.context.objects
    made = layer(client, objects, name="short", dataset="web")
    assert {finding.state for finding in deep.findings(client)} == {"ok"}
    for folder, number in (("shards", 0), ("shards", 1), (f"layers/{made.id}", 1)):
        flip(stored(platform, folder, number))
    data, captions = deep.findings(client)
    assert (data.check, captions.check) == ("data web@1", "layer short of web@1")
    assert all(f"shard {n} of web@1 is damaged" in data.found for n in (0, 1))
    assert f"captions of shard 1 in layer {made.id} is damaged" in captions.found
    assert "deploy/restore.sh BACKUP" in data.fix


def test_an_object_without_a_digest_is_not_taken_for_whole(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(Damaged):
        check_file(tmp_path / "x", Stored(what="x", sha256="", restore="x"))
