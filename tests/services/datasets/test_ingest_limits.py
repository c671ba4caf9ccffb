"""What one team's ingests can keep busy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.chassis.web.errors import TooManyRequests
from services.datasets.tables import VersionRow
from services.datasets.versions.incoming import Incoming
from services.platform.embedded import EmbeddedPlatform
from tests.support.embedded_platform import client_with, images, submitted
from tests.support.waiting import until
from vila2.client import Client
from vila2.client.submit import submit
from vila2.data.sample import RawSample
from vila2.schemas.rest.datasets import DatasetIn, VersionIn


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPlatform]:
    """A platform whose ingests are bounded tightly."""
    monkeypatch.setenv("VILA2_INGEST_WORKERS", "2")
    monkeypatch.setenv("VILA2_TEAM_INGESTS", "2")
    monkeypatch.setenv("VILA2_INGEST_FREE_ROWS", "10")
    with EmbeddedPlatform(tmp_path / "workspace") as made:
        yield made


def of_team(platform: EmbeddedPlatform, name: str) -> Client:
    return client_with(platform, platform.identity.keys.issue(team=name))


def opened(client: Client, name: str) -> None:
    client.datasets.create(DatasetIn(name=name, kind="pairs"))
    client.datasets.open_version(name, VersionIn(format="folder"))
    client.datasets.put_piece(name, 1, "a.txt", 0, b"a fox")


def test_a_team_whose_ingests_take_long_delays_no_other_team(
    few: EmbeddedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it may have only so many of them waiting."""
    release, held, read = threading.Event(), [0], Incoming.raws

    def slowly(self: Incoming, version: VersionRow, *rest: Any) -> Iterator[RawSample]:
        if version.format:  # only red's; blue sends samples
            held[0] += 1
            release.wait(60)
        return read(self, version, *rest)

    monkeypatch.setattr(Incoming, "raws", slowly)
    red = of_team(few, "red")
    for name in ("a", "b"):
        opened(red, name)
        red.datasets.seal_version(name, 1)
    until(lambda: held[0] == 1)
    try:
        opened(red, "c")
        versions = few.apps["datasets"].state.context.versions
        # Not by the client, which would wait and try again.
        with pytest.raises(TooManyRequests, match="2 versions of team red wait"):
            versions.seal("red", "c", 1)
        version = submitted(of_team(few, "blue"), images(tmp_path / "foxes"), name="foxes")
        assert version.state == "ready"
        assert held[0] == 1
    finally:
        release.set()


def test_a_small_file_of_many_rows_fails_at_once_and_says_why(
    few: EmbeddedPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "many.parquet"
    rows = 100_000
    table = pa.table({"image": pa.array([None] * rows, pa.binary()), "caption": ["x"] * rows})
    pq.write_table(table, path, compression="zstd")
    version = submit(few.client, path, name="many", format="parquet", by_store=True)
    assert version.state == "failed"
    assert "too many for a file of its size" in version.error
    assert "VILA2_INGEST_FREE_ROWS" in version.error
