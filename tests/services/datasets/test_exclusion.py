"""Exclusions: a new version without some samples, which shares what it can with the old one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.datasets.lookup import each_shard
from services.datasets.tables import ShardRow, TakedownRow, VersionRow
from services.datasets.versions import exclusion_shards
from services.platform.embedded import EmbeddedPlatform
from tests.services.datasets.test_takedown import held, taken_down
from tests.support.datasets.captioned_datasets import dataset
from tests.support.datasets.samples import image
from tests.support.embedded_platform import client_with
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.schemas.rest.dataset_upkeep import ExcludeIn
from vila2.schemas.rest.datasets import Version


def excluded(client: Client, *keys: str, version: int = 0, reason: str = "") -> Version:
    made = client.datasets.exclude("foxes", version, ExcludeIn(keys=list(keys), reason=reason))
    until(lambda: client.datasets.version("foxes", made.version).state != "ingesting")
    return client.datasets.version("foxes", made.version)


def refused(client: Client, *keys: str) -> ApiError:
    with pytest.raises(ApiError) as found:
        client.datasets.exclude("foxes", 0, ExcludeIn(keys=list(keys)))
    return found.value


@pytest.fixture
def foxes(client: Client, tmp_path: Path) -> Client:
    """Six samples, p0 to p5, in three shards."""
    dataset(client, tmp_path / "foxes", count=6)
    return client


def test_a_new_version_lacks_them_and_the_old_one_has_them(foxes: Client) -> None:
    made = excluded(foxes, "p1", "p4")
    assert (made.version, made.state, made.samples, made.shards) == (2, "ready", 4, 3)
    assert made.rejected == {"excluded": 2}
    assert held(foxes) == [image(n) for n in (0, 2, 3, 5)]
    assert held(foxes, version=1) == [image(n) for n in range(6)]
    assert foxes.datasets.takedowns() == []


def test_only_shards_that_held_them_are_written_again(foxes: Client) -> None:
    excluded(foxes, "p1")
    before, after = foxes.datasets.shards("foxes", 1), foxes.datasets.shards("foxes", 2)
    same = [old.object_key == new.object_key for old, new in zip(before, after, strict=True)]
    assert same == [False, True, True]


def test_a_shard_without_samples_is_left_out(foxes: Client) -> None:
    """The others are numbered without a gap, and still shared."""
    made = excluded(foxes, "p0", "p1")
    assert (made.samples, made.shards) == (4, 2)
    shards = foxes.datasets.shards("foxes", 2)
    assert [shard.index for shard in shards] == [0, 1]
    before = foxes.datasets.shards("foxes", 1)
    assert [s.object_key for s in shards] == [s.object_key for s in before[1:]]
    assert foxes.datasets.lineage("foxes", 2, "p2").shard == 0


def test_unknown_keys_are_named(foxes: Client) -> None:
    problem = refused(foxes, "p1", "p17", "x").problem
    assert (problem.status, problem.field) == (404, "keys")
    assert "foxes@1 has no sample 'p17', 'x'" in problem.detail
    assert foxes.datasets.get("foxes").latest == 1


def test_a_version_without_any_sample_is_refused(foxes: Client) -> None:
    problem = refused(foxes, *(f"p{n}" for n in range(6))).problem
    assert problem.status == 409
    assert "vila2 datasets delete foxes@1" in (problem.fix or "")


def test_the_history_says_why(foxes: Client) -> None:
    excluded(foxes, "p1", reason="also in a benchmark")
    (entry,) = foxes.datasets.history()
    assert entry.subject == "foxes@1 -> foxes@2 without 1 sample"
    assert entry.detail == "also in a benchmark"
    (example,) = foxes.datasets.rejected("foxes", 2)
    assert (example.key, example.reason, example.detail) == (
        "p1", "excluded", "also in a benchmark",
    )  # fmt: skip


def test_the_same_request_gives_the_same_version(foxes: Client) -> None:
    body = ExcludeIn(keys=["p1"])
    first = foxes.datasets.exclude("foxes", 1, body, "monday")
    assert foxes.datasets.exclude("foxes", 1, body, "monday").version == first.version
    with pytest.raises(ApiError, match="another request"):
        foxes.datasets.exclude("foxes", 1, ExcludeIn(keys=["p2"]), "monday")


def test_an_earlier_version_can_be_named(foxes: Client) -> None:
    excluded(foxes, "p1")
    made = excluded(foxes, "p2", version=1)
    assert held(foxes, version=made.version) == [image(n) for n in (0, 1, 3, 4, 5)]


def test_another_team_does_not_find_it(platform: EmbeddedPlatform, foxes: Client) -> None:
    blue = client_with(platform, platform.identity.keys.issue(team="blue"))
    assert refused(blue, "p1").problem.status == 404


def test_a_shared_shard_survives_either_version(foxes: Client) -> None:
    excluded(foxes, "p1")
    found = foxes.datasets.delete("foxes", 1)
    until(lambda: foxes.datasets.deletion(found.id).state == "done")
    assert held(foxes) == [image(n) for n in (0, 2, 3, 4, 5)]


def test_a_take_down_reaches_the_new_version(foxes: Client) -> None:
    excluded(foxes, "p1")
    record = taken_down(foxes, dataset="foxes", key="p4")
    assert record.versions == ["foxes@1", "foxes@2"]
    assert held(foxes) == [image(n) for n in (0, 2, 3, 5)]


def test_a_copy_that_was_cut_is_made_again(
    platform: EmbeddedPlatform, foxes: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    import services.datasets.versions.publication as module

    cut = {"left": 1}

    def crashpoint(name: str) -> None:
        if name == "ingest.written" and cut["left"]:
            cut["left"] -= 1
            raise RuntimeError("cut")

    monkeypatch.setattr(module, "crashpoint", crashpoint)
    made = excluded(foxes, "p1")
    assert (made.state, cut["left"]) == ("ready", 0)
    assert held(foxes) == [image(n) for n in (0, 2, 3, 4, 5)]


def test_an_image_that_is_being_taken_down_is_not_copied(
    platform: EmbeddedPlatform, foxes: Client
) -> None:
    """The take-down lists the versions when it begins, and would pass over the new one."""
    context = platform.apps["datasets"].state.context
    with context.versions._database.transaction() as session:
        session.add(
            TakedownRow(
                id="takedown-1", team="local", sha256=hashlib.sha256(image(4)).hexdigest(),
                reason="asked", requested_by="legal", by_key="", state="running", effects={},
            )
        )  # fmt: skip
    made = excluded(foxes, "p1")
    assert made.rejected == {"excluded": 1, "taken-down": 1}
    assert held(foxes) == [image(n) for n in (0, 2, 3, 5)]


def test_a_version_that_is_deleted_while_it_is_copied_fails_the_copy(
    platform: EmbeddedPlatform, foxes: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The samples that were not read are neither lost nor forgotten."""
    database = platform.apps["datasets"].state.context.versions._database

    def marked_and_cut(*asked: object) -> Iterator[ShardRow]:
        shards = each_shard(*asked)  # type: ignore[arg-type]
        yield next(shards)
        with database.transaction() as session:
            session.get_one(VersionRow, 1).state = "deleting"

    monkeypatch.setattr(exclusion_shards, "each_shard", marked_and_cut)
    made = excluded(foxes, "p1")
    assert (made.state, made.error) == (
        "failed", "foxes@1 was deleted before its samples were copied",
    )  # fmt: skip
    assert foxes.datasets.delete("foxes", made.version).versions == ["foxes@2"]


def test_a_version_that_is_being_copied_is_not_deleted(
    platform: EmbeddedPlatform, foxes: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying, may_end = threading.Event(), threading.Event()

    def slowly(*asked: object) -> Iterator[ShardRow]:
        copying.set()
        may_end.wait(30)
        yield from each_shard(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(exclusion_shards, "each_shard", slowly)
    made = foxes.datasets.exclude("foxes", 0, ExcludeIn(keys=["p1"]))
    copying.wait(30)
    try:
        with pytest.raises(ApiError, match="foxes@1 is being copied, without some samples, to"):
            foxes.datasets.delete("foxes", 1)
    finally:
        may_end.set()
    until(lambda: foxes.datasets.version("foxes", made.version).state == "ready")
