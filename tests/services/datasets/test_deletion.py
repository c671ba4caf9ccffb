"""Deletions: a version or a dataset goes for good, and nothing that others use goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.services.datasets.test_takedown import DIGEST, held, taken_down
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.datasets.samples import image
from tests.support.embedded_platform import client_with, images, submitted
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.schemas.rest.dataset_upkeep import Deletion
from vila2.schemas.rest.datasets import DatasetIn, ExportIn, LatestIn, VersionIn


def deleted(client: Client, name: str = "foxes", version: int = 0, **how: object) -> Deletion:
    found = client.datasets.delete(name, version, **how)  # type: ignore[arg-type]
    until(lambda: client.datasets.deletion(found.id).state != "running")
    return client.datasets.deletion(found.id)


def refused(client: Client, name: str = "foxes", version: int = 0, **how: object) -> ApiError:
    with pytest.raises(ApiError) as found:
        client.datasets.delete(name, version, **how)  # type: ignore[arg-type]
    return found.value


def stored(platform: EmbeddedPlatform) -> list[str]:
    objects = platform.apps["datasets"].state.context.objects
    kinds = ("uploads", "shards", "indexes", "looks", "datasets", "layers")
    return [key for kind in kinds for key in objects.keys(kind)]


def two_versions(client: Client, folder: Path) -> None:
    """Version 2 has version 1's first shard, and two samples more; it is in use."""
    dataset(client, folder, count=4)
    dataset(client, folder, count=6)


def test_a_deleted_dataset_leaves_no_object(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """Shards, indexes, manifests, uploads; and what is freed is what was stored."""
    client = platform.client
    dataset(client, tmp_path / "foxes")
    size = client.datasets.version("foxes").bytes
    record = deleted(client)
    assert (record.state, record.versions, record.samples) == ("done", ["foxes@1"], 4)
    assert record.bytes_freed > size
    assert stored(platform) == []
    assert client.datasets.all() == []
    assert client.datasets.quota().storage_bytes_used == 0


def test_shards_that_another_version_has_stay(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    client = platform.client
    two_versions(client, tmp_path / "foxes")
    record = deleted(client, version=1)
    assert record.state == "done"
    assert record.bytes_freed < client.datasets.version("foxes").bytes / 2
    assert held(client) == [image(n) for n in range(6)]


def test_a_deleted_version_is_not_found_and_its_number_is_not_used_again(
    client: Client, tmp_path: Path
) -> None:
    """The same data may be submitted again, and is a version of its own."""
    two_versions(client, tmp_path / "foxes")
    client.datasets.use("foxes", LatestIn(version=1))
    deleted(client, version=2)
    with pytest.raises(ApiError, match="no version 2: it was deleted") as found:
        client.datasets.version("foxes", 2)
    assert found.value.problem.status == 404
    version = submitted(client, images(tmp_path / "foxes", count=6), name="foxes", shard_samples=2)
    assert version.version == 3


def test_a_dataset_of_the_same_name_goes_on_counting(client: Client, tmp_path: Path) -> None:
    dataset(client, tmp_path / "foxes")
    deleted(client)
    with pytest.raises(ApiError, match="it was deleted"):
        client.datasets.get("foxes")
    dataset(client, tmp_path / "foxes")
    assert client.datasets.get("foxes").latest == 2


def test_the_version_in_use_is_kept_while_there_is_another(client: Client, tmp_path: Path) -> None:
    two_versions(client, tmp_path / "foxes")
    problem = refused(client, version=2).problem
    assert problem.status == 409
    assert "vila2 datasets use foxes@1" in (problem.fix or "")


def test_layers_are_named_and_deleted_only_if_asked(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    client, store = platform.client, platform.apps["datasets"].state.context.objects
    dataset(client, tmp_path / "foxes")
    made = layer(client, store)
    problem = refused(client).problem
    assert (problem.status, problem.field) == (409, "name")
    assert f"{made.id} (round-1)" in problem.detail
    assert "--with-layers" in (problem.fix or "")
    assert client.datasets.layer(made.id).state == "sealed"
    record = deleted(client, with_layers=True)
    assert record.layers == [made.id]
    assert client.datasets.layers() == []
    assert stored(platform) == []


def test_deleting_layers_needs_the_scope_to_change_them(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    dataset(platform.client, tmp_path / "foxes")
    key = platform.identity.keys.issue(team="local", scopes=("datasets:read", "datasets:write"))
    problem = refused(client_with(platform, key), with_layers=True).problem
    assert (problem.status, problem.field) == (403, "with_layers")


def test_another_team_does_not_find_it(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    """Neither the dataset nor the record; and its own copy of the shards stays."""
    blue = client_with(platform, platform.identity.keys.issue(team="blue"))
    dataset(platform.client, tmp_path / "foxes")
    assert refused(blue).problem.status == 404
    dataset(blue, tmp_path / "foxes")
    record = deleted(platform.client)
    with pytest.raises(ApiError, match="no deletion"):
        blue.datasets.deletion(record.id)
    assert blue.datasets.deletions() == []
    assert held(blue) == [image(n) for n in range(4)]


def test_what_is_freed_does_not_tell_what_another_team_has(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    blue = client_with(platform, platform.identity.keys.issue(team="blue"))
    dataset(platform.client, tmp_path / "foxes")
    dataset(blue, tmp_path / "foxes")
    size = platform.client.datasets.version("foxes").bytes
    assert deleted(platform.client).bytes_freed > size


def test_a_submission_that_failed_is_deleted(platform: EmbeddedPlatform, tmp_path: Path) -> None:
    client = platform.client
    folder = tmp_path / "none"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    (folder / "a.txt").write_text("a fox")
    assert submitted(client, folder, name="foxes").state == "failed"
    deleted(client, version=1)
    assert stored(platform) == []
    with pytest.raises(ApiError, match="it was deleted"):
        client.datasets.seal_version("foxes", 1)


def test_a_submission_that_was_never_finished_is_deleted(platform: EmbeddedPlatform) -> None:
    """Its bytes are freed, and it takes no further piece."""
    datasets = platform.client.datasets
    datasets.create(DatasetIn(name="foxes", kind="pairs"))
    datasets.open_version("foxes", VersionIn(format="folder"), token="monday")
    datasets.put_piece("foxes", 1, "a.txt", 0, b"a fox")
    record = deleted(platform.client, version=1)
    assert record.bytes_freed == 5
    assert stored(platform) == []
    with pytest.raises(ApiError, match="it was deleted"):
        datasets.put_piece("foxes", 1, "a.txt", 0, b"a fox")
    assert datasets.open_version("foxes", VersionIn(format="folder"), token="monday").version == 2


def test_asking_twice_gives_one_record(client: Client, tmp_path: Path) -> None:
    """A reply may be lost, and the request is then sent again."""
    dataset(client, tmp_path / "foxes")
    first = deleted(client, reason="too small")
    assert client.datasets.delete("foxes") == first
    assert client.datasets.delete("foxes", 1) == first
    (entry,) = client.datasets.history()
    assert (entry.action, entry.subject, entry.detail) == ("dataset-deleted", "foxes", "too small")


def test_records_of_exports_stay_and_are_named(client: Client, tmp_path: Path) -> None:
    dataset(client, tmp_path / "foxes")
    made = client.datasets.begin_export(ExportIn(dataset="foxes", format="txt", text="original"))
    assert deleted(client).exports == [made.id]
    assert client.datasets.exports() == [made]


def test_a_take_down_of_an_image_that_it_held_is_closed(client: Client, tmp_path: Path) -> None:
    dataset(client, tmp_path / "foxes")
    dataset(client, tmp_path / "owls", name="owls", count=2)
    deleted(client)
    record = taken_down(client, sha256=DIGEST)
    assert (record.state, record.versions) == ("done", ["owls@1"])


@pytest.mark.parametrize("point", ["deletion.unreferenced", "deletion.page", "deletion.swept"])
def test_a_deletion_that_was_cut_goes_on(
    platform: EmbeddedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Between any two of its steps; what it frees is counted once."""
    import services.datasets.governance.deletion_steps as module

    client = platform.client
    dataset(client, tmp_path / "foxes")
    whole = deleted(client).bytes_freed
    dataset(client, tmp_path / "foxes")
    cut = {"left": 1}

    def crashpoint(name: str) -> None:
        if name == point and cut["left"]:
            cut["left"] -= 1
            raise RuntimeError("cut")

    monkeypatch.setattr(module, "crashpoint", crashpoint)
    record = deleted(client)
    assert cut["left"] == 0
    assert (record.state, record.bytes_freed) == ("done", whole)
    assert stored(platform) == []
