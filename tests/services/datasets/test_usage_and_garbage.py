"""What a team stores, and what of it nothing needs any more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.chassis.storage.settings import StorageSettings
from services.datasets.governance.garbage import GarbageCollection
from services.datasets.tables import VersionRow
from services.platform.embedded import EmbeddedPlatform
from tests.services.datasets.test_takedown import held
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.datasets.samples import image
from tests.support.embedded_platform import client_with, submitted
from tests.support.waiting import until
from vila2.client import Client
from vila2.schemas.rest.dataset_upkeep import AbandonedUpload, Garbage, VersionUsage
from vila2.schemas.rest.datasets import DatasetIn, ExportIn, VersionIn
from vila2.schemas.rest.identity import DAY

LONG_AGO = time.time() - 2 * DAY


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedPlatform]:
    """Both databases: sums and JSON are not the same in them."""
    storage = StorageSettings()
    if request.param == "postgres":
        url = SecretStr(request.getfixturevalue("postgres_url"))
        storage = StorageSettings(database_url=url)
    with EmbeddedPlatform(tmp_path / "workspace", storage=storage) as made:
        yield made


def versions(client: Client, name: str = "foxes") -> list[VersionUsage]:
    (found,) = [one for one in client.datasets.usage().datasets if one.dataset == name]
    return found.versions


def put(platform: EmbeddedPlatform, key: str, data: bytes = b"left", *, old: bool = True) -> Path:
    """An object that no row refers to."""
    platform.apps["datasets"].state.context.objects.put(key, data)
    path = platform.workspace / "objects" / key
    if old:
        os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def age(platform: EmbeddedPlatform) -> None:
    """Every object was written two days ago."""
    for path in (platform.workspace / "objects").rglob("*"):
        if path.is_file():
            os.utime(path, (LONG_AGO, LONG_AGO))


def counts(found: Garbage) -> tuple[int, int]:
    return found.objects.objects, found.objects.bytes


def test_bytes_that_two_versions_have_are_shared(client: Client, tmp_path: Path) -> None:
    dataset(client, tmp_path / "foxes", count=2)
    (alone,) = versions(client)
    assert (alone.own_bytes, alone.shared_bytes) == (client.datasets.version("foxes").bytes, 0)
    dataset(client, tmp_path / "foxes", count=4)
    first, second = versions(client)
    assert (first.own_bytes, first.shared_bytes, first.in_use) == (0, alone.own_bytes, False)
    assert second.shared_bytes == alone.own_bytes
    assert second.in_use
    found = client.datasets.usage()
    assert found.bytes == second.own_bytes + second.shared_bytes
    assert found.quota.storage_bytes_used == found.bytes + alone.own_bytes


def test_datasets_that_have_the_same_shard_do_not_own_it(client: Client, tmp_path: Path) -> None:
    dataset(client, tmp_path / "foxes", count=2)
    dataset(client, tmp_path / "foxes", name="again", count=2)
    for found in client.datasets.usage().datasets:
        assert (found.bytes > 0, found.own_bytes) == (True, 0)


def test_layers_uploads_and_exports_are_shown(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    client = platform.client
    dataset(client, tmp_path / "foxes")
    made = layer(client, platform.apps["datasets"].state.context.objects)
    client.datasets.begin_export(ExportIn(dataset="foxes", format="txt", text="original"))
    client.datasets.open_version("foxes", VersionIn(format="folder"))
    client.datasets.put_piece("foxes", 2, "a.txt", 0, b"a fox")
    ready, opened = versions(client)
    (shown,) = ready.layers
    assert (shown.id, shown.bytes > 0, ready.exports) == (made.id, True, 1)
    assert (opened.state, opened.upload_bytes, opened.samples) == ("open", 5, 0)
    assert client.datasets.usage().upload_bytes == 5


def test_a_submission_that_failed_is_shown(client: Client, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_bytes(b"no image")
    (tmp_path / "none" / "a.txt").write_text("a fox")
    submitted(client, tmp_path / "none", name="foxes")
    (failed,) = versions(client)
    assert failed.state == "failed"
    assert failed.upload_bytes > 0


def test_a_team_sees_only_its_own(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """Also of a shard that another team has too."""
    blue = client_with(platform, platform.identity.keys.issue(team="blue"))
    dataset(platform.client, tmp_path / "foxes")
    assert blue.datasets.usage().datasets == []
    dataset(blue, tmp_path / "foxes")
    assert versions(blue)[0].shared_bytes == 0


def test_nothing_that_is_in_use_is_garbage(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """Versions, layers, hashes of audits and uploads, however old."""
    from vila2.schemas.rest.datasets import AuditIn

    client, store = platform.client, platform.apps["datasets"].state.context.objects
    dataset(client, tmp_path / "foxes")
    layer(client, store)
    layer(client, store, name="half", shards=1, seal=False)
    client.datasets.start_audit("foxes", 1, AuditIn())
    until(lambda: client.datasets.audit("foxes").state == "done")
    client.datasets.open_version("foxes", VersionIn(format="folder"))
    client.datasets.put_piece("foxes", 2, "a.txt", 0, b"a fox")
    age(platform)
    kept = list(store.keys())
    found = client.datasets.collect_garbage()
    assert (counts(found), found.unowned, found.young) == ((0, 0), found.unowned, 0)
    assert found.unowned is not None
    assert found.unowned.objects == 0
    assert list(store.keys()) == kept


@pytest.mark.parametrize("key", [
    "indexes/1/000000-0123456789abcdef0123456789abcdef.index.parquet",
    "looks/1/000007-0123456789abcdef.parquet",
    "uploads/1/parts/000000-0123456789abcdef",
    "layers/{layer}/000000-7.parquet",
    "layers/{layer}/parts/000000-0123456789ab-00000000.parquet",
])  # fmt: skip
def test_what_no_row_refers_to_is_found_and_deleted_only_if_asked(
    platform: EmbeddedPlatform, tmp_path: Path, key: str
) -> None:
    client = platform.client
    dataset(client, tmp_path / "foxes")
    made = layer(client, platform.apps["datasets"].state.context.objects)
    path = put(platform, key.format(layer=made.id))
    assert counts(client.datasets.garbage()) == (1, 4)
    assert path.exists()
    assert counts(client.datasets.collect_garbage()) == (1, 4)
    assert not path.exists()
    assert counts(client.datasets.garbage()) == (0, 0)
    assert held(client) == [image(n) for n in range(4)]


def test_an_object_younger_than_an_hour_is_left(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    dataset(platform.client, tmp_path / "foxes")
    path = put(platform, "looks/1/000007-0123456789abcdef.parquet", old=False)
    found = platform.client.datasets.collect_garbage()
    assert (counts(found), found.young) == ((0, 0), 1)
    assert path.exists()


def test_other_services_objects_are_not_looked_at(platform: EmbeddedPlatform) -> None:
    path = put(platform, "models/tiny/model.safetensors")
    platform.client.datasets.collect_garbage()
    assert path.exists()


def test_what_has_no_owner_needs_the_admin(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """A shard's key does not say whose it was."""
    key = platform.identity.keys.issue(team="local", scopes=("datasets:read", "datasets:write"))
    member = client_with(platform, key)
    path = put(platform, "shards/ab/000000-abcd.tar")
    found = member.datasets.collect_garbage()
    assert (found.unowned, found.objects.objects) == (None, 0)
    assert path.exists()
    of_none = platform.client.datasets.collect_garbage().unowned
    assert of_none is not None
    assert of_none.objects == 1
    assert not path.exists()


def test_another_teams_garbage_is_left(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    blue = client_with(platform, platform.identity.keys.issue(team="blue"))
    dataset(platform.client, tmp_path / "foxes")
    path = put(platform, "looks/1/000007-0123456789abcdef.parquet")
    assert counts(blue.datasets.collect_garbage()) == (0, 0)
    assert path.exists()


def test_an_upload_that_got_nothing_for_a_day_is_deleted(platform: EmbeddedPlatform) -> None:
    """Its record is a deletion's, and its number is not used again."""
    datasets = platform.client.datasets
    datasets.create(DatasetIn(name="foxes", kind="pairs"))
    for number in (1, 2):
        datasets.open_version("foxes", VersionIn(format="folder"))
        datasets.put_piece("foxes", number, "a.txt", 0, b"a fox")
    database = platform.apps["datasets"].state.context.database
    with database.transaction() as session:
        for number in (1, 2):
            session.get_one(VersionRow, number).created_at = LONG_AGO
    # The first got its last piece two days ago, the second just now.
    for path in (platform.workspace / "objects" / "uploads" / "1").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    (found,) = datasets.garbage().abandoned
    assert (found.dataset, found.version, found.bytes) == ("foxes", 1, 5)
    datasets.collect_garbage()
    until(lambda: [one.state for one in datasets.deletions()] == ["done"])
    assert datasets.deletions()[0].bytes_freed == 5
    assert datasets.version("foxes", 2).state == "open"


def test_an_upload_in_progress_is_not_abandoned(platform: EmbeddedPlatform) -> None:
    datasets = platform.client.datasets
    datasets.create(DatasetIn(name="foxes", kind="pairs"))
    datasets.open_version("foxes", VersionIn(format="folder"))
    assert datasets.garbage().abandoned == []


def test_a_version_that_somebody_has_gone_on_with_is_not_collected(
    platform: EmbeddedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the list of what was abandoned and its turn."""
    client = platform.client
    dataset(client, tmp_path / "foxes")
    stale = [AbandonedUpload(dataset="foxes", version=1, bytes=0, created_at=LONG_AGO)]
    monkeypatch.setattr(GarbageCollection, "_abandoned", lambda *_: stale)
    assert client.datasets.collect_garbage().abandoned == []
    assert client.datasets.version("foxes", 1).state == "ready"
