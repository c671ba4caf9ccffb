"""A team's storage: what counts, and that a refusal costs nothing that was sent."""

from __future__ import annotations

import itertools
import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.chassis.asgi_request import Answer, request
from tests.support.embedded_platform import client_with, images, submitted
from vila2.client import ApiError, Client
from vila2.client.submit import submit
from vila2.schemas.rest.datasets import DatasetIn, VersionIn
from vila2.schemas.rest.identity import DAY, LimitsIn


@pytest.fixture
def red(platform: EmbeddedPlatform) -> Client:
    return client_with(platform, platform.identity.keys.issue(team="red"))


@pytest.fixture
def foxes(tmp_path: Path) -> Path:
    return images(tmp_path / "foxes")


def limit(platform: EmbeddedPlatform, storage_bytes: int | None) -> None:
    platform.client.identity.set_limits("red", LimitsIn(storage_bytes=storage_bytes))


def refused(red: Client, folder: Path, **how: object) -> ApiError:
    with pytest.raises(ApiError) as found:
        submit(red, folder, name="foxes", format="folder", **how)  # type: ignore[arg-type]
    problem = found.value.problem
    assert (problem.status, problem.type) == (413, "urn:vila2:problem:storage-full")
    assert "submit again" in (problem.fix or "")
    return found.value


def test_what_is_ready_counts_once_by_its_shards(red: Client, foxes: Path) -> None:
    """The upload that it was made of is gone by then."""
    version = submitted(red, foxes, name="foxes")
    assert red.datasets.quota().storage_bytes_used == version.bytes > 0


def test_a_submission_that_does_not_fit_is_refused_before_its_first_byte(
    platform: EmbeddedPlatform, red: Client, foxes: Path
) -> None:
    """Where its size is known; and no version is left behind."""
    limit(platform, 100)
    assert refused(red, foxes, by_store=True).problem.field == "upload_bytes"
    assert red.datasets.quota().storage_bytes_used == 0
    with pytest.raises(ApiError, match="has no version 1"):
        red.datasets.version("foxes", 1)


def test_a_part_that_does_not_fit_is_refused_and_goes_up_when_it_may(
    platform: EmbeddedPlatform, red: Client, foxes: Path
) -> None:
    """The same submission goes on in the same version."""
    limit(platform, 100)
    assert refused(red, foxes).problem.field == "body"
    limit(platform, None)
    version = submitted(red, foxes, name="foxes")
    assert (version.version, version.state) == (1, "ready")


def test_a_piece_that_the_store_has_is_no_more_bytes(
    platform: EmbeddedPlatform, red: Client, foxes: Path, tmp_path: Path
) -> None:
    """Who was cut off at the limit sends it again and is not refused."""
    red.datasets.create(DatasetIn(name="files", kind="pairs"))
    red.datasets.open_version("files", VersionIn(format="folder"))
    red.datasets.put_piece("files", 1, "a.txt", 0, b"a fox")
    limit(platform, 5)
    red.datasets.put_piece("files", 1, "a.txt", 0, b"a fox")
    with pytest.raises(ApiError, match="1 more do not fit"):
        red.datasets.put_piece("files", 1, "b.txt", 0, b"!")
    assert red.datasets.quota().storage_bytes_used == 5


def test_parallel_pieces_fit_together_or_are_refused(
    platform: EmbeddedPlatform, red: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone would fit; what is being stored counts already."""
    objects = platform.apps["datasets"].state.context.objects
    put_file = type(objects).put_file

    def slowly(self: object, key: str, path: Path) -> None:
        time.sleep(0.3)
        put_file(self, key, path)

    monkeypatch.setattr(type(objects), "put_file", slowly)
    red.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    red.datasets.open_version("foxes", VersionIn(format="folder"))
    limit(platform, 3000)

    def sent(number: int) -> str:
        try:
            red.datasets.put_piece("foxes", 1, f"{number}.png", 0, bytes([number]) * 1000)
        except ApiError as error:
            return error.problem.type
        return "stored"

    with ThreadPoolExecutor(10) as threads:
        found = Counter(threads.map(sent, range(10)))
    assert found == {"stored": 3, "urn:vila2:problem:storage-full": 7}
    assert red.datasets.quota().storage_bytes_used == 3000


def test_a_piece_that_could_not_be_stored_takes_no_room(
    platform: EmbeddedPlatform, red: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = platform.apps["datasets"].state.context.objects
    red.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    red.datasets.open_version("foxes", VersionIn(format="folder"))

    def fails(*_: object) -> None:
        raise RuntimeError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(objects), "put_file", fails)
        with pytest.raises((ApiError, RuntimeError)):
            red.datasets.put_piece("foxes", 1, "a.png", 0, b"x" * 1000)
    assert red.datasets.quota().storage_bytes_used == 0


def test_teams_do_not_take_from_each_other(
    platform: EmbeddedPlatform, red: Client, foxes: Path
) -> None:
    limit(platform, 1)
    submitted(platform.client, foxes, name="foxes")
    assert red.datasets.quota().storage_bytes_used == 0
    assert platform.client.datasets.quota("red").storage_bytes == 1
    with pytest.raises(ApiError, match="lacks the scope"):
        red.datasets.quota("local")


def test_a_piece_that_will_not_fit_is_refused_before_it_is_read(
    platform: EmbeddedPlatform, red: Client
) -> None:
    red.datasets.create(DatasetIn(name="files", kind="pairs"))
    red.datasets.open_version("files", VersionIn(format="folder"))
    limit(platform, 1000)
    answer = put_piece(platform, [b"x" * 1001], length=1001)
    assert (answer.status, answer.pieces_read) == (413, 0)
    assert answer.problem["type"] == "urn:vila2:problem:storage-full"


def test_a_piece_is_bounded_by_its_own_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A larger one than the one for JSON."""
    monkeypatch.setenv("VILA2_MAX_JSON_BYTES", "1000")
    monkeypatch.setenv("VILA2_MAX_UPLOAD_BYTES", "4000")
    with EmbeddedPlatform(tmp_path / "bounded") as platform:
        red = client_with(platform, platform.identity.keys.issue(team="red"))
        red.datasets.create(DatasetIn(name="files", kind="pairs"))
        red.datasets.open_version("files", VersionIn(format="folder"))
        assert put_piece(platform, [b"x" * 2000] * 2).status == 200
        answer = put_piece(platform, [b"x" * 2000] * 100)
    assert (answer.status, answer.pieces_read) == (413, 3)
    assert "VILA2_MAX_UPLOAD_BYTES" in answer.problem["fix"]


def test_what_a_killed_process_was_receiving_is_removed_after_a_day(tmp_path: Path) -> None:
    """Another process may be receiving what is newer."""
    spool = tmp_path / "w" / "spool"
    spool.mkdir(parents=True)
    for name, age in (("old", 2 * DAY), ("new", 60.0)):
        (spool / name).touch()
        os.utime(spool / name, (time.time() - age, time.time() - age))
    with EmbeddedPlatform(tmp_path / "w"):
        assert [path.name for path in spool.iterdir()] == ["new"]


def test_a_large_piece_is_not_held_in_memory(platform: EmbeddedPlatform, red: Client) -> None:
    red.datasets.create(DatasetIn(name="files", kind="pairs"))
    red.datasets.open_version("files", VersionIn(format="folder"))
    piece = b"x" * (1 << 20)
    tracemalloc.start()
    try:
        assert put_piece(platform, itertools.repeat(piece, 64)).status == 200
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert list((platform.workspace / "spool").iterdir()) == []
    assert red.datasets.quota().storage_bytes_used == 64 << 20


def put_piece(
    platform: EmbeddedPlatform, pieces: Iterable[bytes], *, length: int | None = None
) -> Answer:
    key = platform.identity.keys.issue(team="red")
    headers = {"authorization": f"Bearer {key}"}
    if length is not None:
        headers["content-length"] = str(length)
    path = "/v1/datasets/files/versions/1/files/a.txt/pieces/0"
    return request(platform.apps["datasets"], "PUT", path, headers=headers, pieces=pieces)
