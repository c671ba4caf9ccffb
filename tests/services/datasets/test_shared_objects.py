"""Versions that share a shard's object, while one is ingested and another's is taken down.

Two replicas of the store work at once: here each unit is taken by hand, the second one in the
middle of the first, at a chosen call to the object store.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.settings import StorageSettings
from services.platform.embedded import EmbeddedPlatform
from tests.services.datasets.test_takedown import DIGEST, GONE, everything_stored, held
from tests.support.datasets.captioned_datasets import dataset
from tests.support.datasets.samples import image
from tests.support.embedded_platform import client_with, images
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.shards import write_raw_shard
from vila2.schemas.rest.dataset_upkeep import ExcludeIn
from vila2.schemas.rest.datasets import DatasetIn, TakedownIn, VersionIn


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedPlatform]:
    storage = StorageSettings()
    if request.param == "postgres":
        url = SecretStr(request.getfixturevalue("postgres_url"))
        storage = StorageSettings(database_url=url)
    with EmbeddedPlatform(tmp_path / "workspace", storage=storage) as made:
        yield made


@dataclass
class Store:
    """The dataset store of a platform, its units taken by hand; red has a dataset already."""

    red: Client
    blue: Client
    objects: ObjectStore
    take: Callable[[str], bool]
    claimable: Callable[[], list[tuple[str, str]]]

    def given_to(self, client: Client, folder: Path, *parts: bytes) -> str:
        """The unit that ingests this folder, and then these parts, for the client's team."""
        client.datasets.create(DatasetIn(name="foxes", kind="pairs"))
        opened = client.datasets.open_version("foxes", VersionIn(shard_samples=2))
        part = io.BytesIO()
        write_raw_shard(open_reader("folder", folder, ReadOptions()).read(), part)
        for number, data in enumerate((part.getvalue(), *parts)):
            client.datasets.put_part("foxes", opened.version, number, data)
        client.datasets.seal_version("foxes", opened.version)
        return next(unit for unit, task in self.claimable() if task == "datasets.ingest")


@pytest.fixture
def store(platform: EmbeddedPlatform, tmp_path: Path) -> Store:
    context = platform.apps["datasets"].state.context
    dataset(platform.client, tmp_path / "foxes")
    context.worker.stop()
    return Store(
        red=platform.client,
        blue=client_with(platform, platform.identity.keys.issue(team="blue")),
        objects=context.objects,
        take=context.worker.take,
        claimable=context.units.claimable,
    )


def take_down(client: Client, sha256: str = DIGEST) -> str:
    """Ask for a take-down; its unit."""
    asked = TakedownIn(sha256=sha256, reason="asked by its owner", requested_by="legal")
    return client.datasets.take_down(asked).id


def meanwhile(
    patch: pytest.MonkeyPatch,
    objects: ObjectStore,
    method: str,
    does: Callable[[], object],
    *,
    of: str = "shards/",
    after: bool = True,
) -> None:
    """Do something once, after (or before) the first such call for a key with this prefix."""
    original, left = getattr(objects, method), [does]

    def hooked(key: str, *args: Any) -> Any:
        first = left.pop() if left and key.startswith(of) else None
        if first is not None and not after:
            first()
        found = original(key, *args)
        if first is not None and after:
            first()
        return found

    patch.setattr(objects, method, hooked)


def test_a_shard_that_an_ingest_has_found_is_not_deleted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another team takes its own copy down, from beginning to end, right after."""
    ingest = store.given_to(store.blue, tmp_path / "foxes")
    takedown = take_down(store.red)
    meanwhile(monkeypatch, store.objects, "exists", lambda: store.take(takedown))
    store.take(ingest)
    assert held(store.blue) == [image(n) for n in range(4)]
    assert held(store.red) == [image(n) for n in (0, 2, 3)]


def test_a_shard_that_is_being_deleted_is_not_found_by_an_ingest(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ingest comes after the take-down saw that nobody uses the object."""
    ingest = store.given_to(store.blue, tmp_path / "foxes")
    takedown = take_down(store.red)
    replica = threading.Thread(target=store.take, args=(ingest,))

    def begin() -> None:
        replica.start()
        # Either it has to wait until the object is deleted, or it ends within this time.
        replica.join(timeout=2)

    meanwhile(monkeypatch, store.objects, "delete", begin, after=False)
    store.take(takedown)
    replica.join()
    assert held(store.blue) == [image(n) for n in range(4)]
    assert held(store.red) == [image(n) for n in (0, 2, 3)]


def test_a_shard_that_an_ingest_has_found_is_kept_by_a_deletion(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red deletes its dataset right after blue's ingest saw the shard in the store."""
    ingest = store.given_to(store.blue, tmp_path / "foxes")
    deletion = store.red.datasets.delete("foxes").id
    meanwhile(monkeypatch, store.objects, "exists", lambda: store.take(deletion))
    store.take(ingest)
    assert store.red.datasets.deletion(deletion).state == "done"
    assert held(store.blue) == [image(n) for n in range(4)]


def test_a_shard_that_a_deletion_removes_is_stored_again_by_an_ingest(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ingest comes after the deletion saw that nobody uses the object."""
    ingest = store.given_to(store.blue, tmp_path / "foxes")
    deletion = store.red.datasets.delete("foxes").id
    replica = threading.Thread(target=store.take, args=(ingest,))

    def begin() -> None:
        replica.start()
        replica.join(timeout=2)

    meanwhile(monkeypatch, store.objects, "delete", begin, after=False)
    store.take(deletion)
    replica.join()
    assert store.red.datasets.deletion(deletion).state == "done"
    assert held(store.blue) == [image(n) for n in range(4)]


def test_a_version_is_not_deleted_while_another_is_made_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has all of its samples, and shares its shards."""
    store.red.datasets.exclude("foxes", 1, ExcludeIn(keys=["p0"]))
    copy = next(unit for unit, task in store.claimable() if task == "datasets.exclusion")

    def delete() -> None:
        with pytest.raises(ApiError, match="foxes@1 is being copied, without some samples"):
            store.red.datasets.delete("foxes", 1)

    meanwhile(monkeypatch, store.objects, "put", delete, of="indexes/")
    store.take(copy)
    until(lambda: store.take(copy) or store.red.datasets.version("foxes", 2).state == "ready")
    assert held(store.red) == [image(n) for n in (1, 2, 3)]


def test_a_copy_that_another_take_down_deletes_is_made_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of red's first shard is all that blue has, and blue takes that down."""
    store.take(store.given_to(store.blue, images(tmp_path / "one", count=1)))
    of_blue = take_down(store.blue, hashlib.sha256(image(0)).hexdigest())
    of_red = take_down(store.red)
    meanwhile(monkeypatch, store.objects, "put_file", lambda: store.take(of_blue))
    store.take(of_red)
    until(lambda: store.take(of_red) or store.red.datasets.takedown(of_red).state == "done")
    assert held(store.red) == [image(n) for n in (0, 2, 3)]


def test_a_version_is_ready_only_with_all_its_objects(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one is missing at the end the ingest is tried again, and stores it."""
    ingest = store.given_to(store.blue, images(tmp_path / "owls", first=10))

    def lose() -> None:
        for key in list(store.objects.keys("shards")):
            store.objects.delete(key)

    meanwhile(monkeypatch, store.objects, "put_file", lose, of="datasets/")
    store.take(ingest)
    assert store.blue.datasets.version("foxes", 1).state == "ingesting"
    until(lambda: store.take(ingest))
    assert held(store.blue) == [image(n) for n in range(10, 14)]


def test_an_attempt_that_is_given_up_leaves_no_shard(
    platform: EmbeddedPlatform, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is taken down while a version that holds it is ingested."""
    store.take(take_down(store.red))
    ingest = store.given_to(store.blue, tmp_path / "foxes")
    meanwhile(monkeypatch, store.objects, "put_file", lambda: take_down(store.blue), of="datasets/")
    store.take(ingest)
    until(lambda: store.take(ingest))
    assert held(store.blue) == [image(n) for n in (0, 2, 3)]
    assert GONE not in everything_stored(platform)


def test_a_version_that_fails_leaves_no_shard(store: Store, tmp_path: Path) -> None:
    """Its first shard was stored before its last part turned out to be damaged."""
    before = list(store.objects.keys("shards"))
    damaged = io.BytesIO()
    with tarfile.open(fileobj=damaged, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("00000001.json"))
    ingest = store.given_to(store.blue, images(tmp_path / "owls", first=10), damaged.getvalue())
    store.take(ingest)
    assert store.blue.datasets.version("foxes", 1).state == "failed"
    assert list(store.objects.keys("shards")) == before
