"""The dataset store on SQLite and a directory, and on a real PostgreSQL and S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from services.chassis.storage.settings import StorageSettings
from services.platform.embedded import EmbeddedPlatform
from tests.services.datasets.test_takedown import taken_down
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.datasets.samples import image
from tests.support.embedded_platform import images, submitted
from tests.support.waiting import until
from vila2.data.layers import decode_layer_shard
from vila2.data.shards import read_shard
from vila2.schemas.rest.datasets import AuditIn, DatasetIn, VersionIn


@pytest.fixture(params=["sqlite-directory", pytest.param("postgres-s3", marks=pytest.mark.server)])
def storage(request: pytest.FixtureRequest) -> StorageSettings:
    if request.param == "sqlite-directory":
        return StorageSettings()
    server = request.getfixturevalue("s3")
    return StorageSettings(
        database_url=SecretStr(request.getfixturevalue("postgres_url")),
        s3_endpoint=server.endpoint,
        s3_bucket=f"b-{uuid4().hex[:10]}",
        s3_access_key=SecretStr(server.access_key),
        s3_secret_key=SecretStr(server.secret_key),
        s3_secure=False,
    )


@pytest.fixture
def store(storage: StorageSettings, tmp_path: Path) -> Iterator[EmbeddedPlatform]:
    with EmbeddedPlatform(tmp_path / "workspace", storage=storage) as made:
        yield made


def test_a_dataset_goes_its_whole_way(store: EmbeddedPlatform, tmp_path: Path) -> None:
    """Submitted, captioned, compared, audited, and one image of it taken down."""
    client, objects = store.client, store.apps["datasets"].state.context.objects
    dataset(client, tmp_path / "foxes", count=5)
    first = layer(client, objects, name="one")
    second = layer(client, objects, name="two", text="a red {key}", quarantined=("p4",))
    found = client.datasets.diff_layers(second.id, first.id)
    assert (found.changed, found.lost) == (4, 1)
    client.datasets.start_audit("foxes", 0, AuditIn())
    until(lambda: client.datasets.audit("foxes").state == "done")
    assert client.datasets.audit("foxes").samples == 5
    record = taken_down(client, dataset="foxes", key="p1")
    assert (record.samples, record.captions) == (1, 2)
    held = [
        sample.key
        for shard in client.datasets.shards("foxes")
        for sample in read_shard(client.datasets.shard_content("foxes", 1, shard.index))
    ]
    captioned = [
        row.key
        for number in range(second.shards)
        for row in decode_layer_shard(client.datasets.layer_content(second.id, number))
    ]
    assert held == captioned == ["p0", "p2", "p3", "p4"]
    with pytest.raises(KeyError):
        objects.get(f"looks/1/000000-{'0' * 16}.parquet")


def test_clients_that_do_the_same_at_once_do_it_once(
    store: EmbeddedPlatform, tmp_path: Path
) -> None:
    """One dataset, one version for a token, and different numbers for different ones."""
    client = store.client
    folder = images(tmp_path / "foxes", count=6)
    with ThreadPoolExecutor(6) as pool:
        for future in [
            pool.submit(client.datasets.create, DatasetIn(name="foxes", kind="pairs"))
            for _ in range(6)
        ]:
            assert future.result().name == "foxes"
        versions = {
            pool.submit(submitted, client, folder, name="foxes").result().version for _ in range(4)
        }
        others = list(
            pool.map(
                lambda n: client.datasets.open_version("foxes", VersionIn(), f"t{n}").version,
                range(6),
            )
        )
    assert versions == {1}
    assert sorted(others) == [2, 3, 4, 5, 6, 7]
    assert [dataset.name for dataset in client.datasets.all()] == ["foxes"]


def test_what_was_stored_is_there_for_the_next_process(
    store: EmbeddedPlatform, storage: StorageSettings, tmp_path: Path
) -> None:
    """Rows and objects outlive whoever wrote them."""
    submitted(store.client, images(tmp_path / "foxes"), name="foxes")
    store.__exit__(None, None, None)
    with EmbeddedPlatform(store.workspace, storage=storage) as again:
        assert image(2) in again.client.datasets.shard_content("foxes", 1, 0)
