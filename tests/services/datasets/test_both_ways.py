"""The client reads a submission, or the store does: the same samples, counts and reasons."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.datasets.samples import image
from tests.support.datasets.submissions import (
    INPUTS,
    conversations,
    empty_files,
    forms,
    links,
    odd_names,
    write,
)
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.client.joined import joined
from vila2.client.submit import submit
from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions
from vila2.data.readers.files.tree import TREE, lay_out
from vila2.schemas.rest.datasets import DatasetIn, VersionIn


def outcome(client: Client, path: Path, format: str, *, by_store: bool) -> dict[str, object]:
    """What a version holds, and what it counts."""
    name = f"by-{'store' if by_store else 'client'}"
    version = submit(client, path, name=name, format=format, by_store=by_store, poll_seconds=0.02)
    assert version.state == "ready", version.error
    rejected = client.datasets.rejected(name, version.version)
    return {
        "samples": [sample for sample, _ in joined(client, name, [], version=version.version)],
        "rejected": version.rejected,
        "notes": version.notes,
        "repeated": version.repeated_captions,
        "examples": Counter((each.key, each.source, each.reason) for each in rejected),
    }


@pytest.mark.parametrize("make", INPUTS)
def test_it_does_not_matter_who_reads(
    client: Client, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path / "data")
    at_the_client, by_the_store = (
        outcome(client, path, INPUTS[make], by_store=by_store) for by_store in (False, True)
    )
    assert by_the_store == at_the_client


def counts(client: Client, path: Path, **given: object) -> tuple[int, dict[str, int]]:
    version = submit(client, path, name="d", poll_seconds=0.02, **given)  # type: ignore[arg-type]
    assert version.state == "ready", version.error
    return version.samples, version.rejected


@pytest.mark.parametrize(
    ("make", "samples", "rejected"),
    [
        (empty_files, 1, {"image-empty": 2, "caption-empty": 1, "file-unknown": 1}),
        (odd_names, 7, {}),
        (forms, 2, {}),
        (links, 3, {"path-outside": 1, "image-missing": 1, "image-unreadable": 1,
                    "duplicate-image": 1, "link-to-folder": 1, "file-unknown": 1}),
    ],
)  # fmt: skip
def test_everything_in_a_folder_is_admitted_or_counted(
    client: Client,
    tmp_path: Path,
    make: Callable[[Path], Path],
    samples: int,
    rejected: dict[str, int],
) -> None:
    """Also if the store reads it: no file passes unseen."""
    found = counts(client, make(tmp_path / "data"), format="folder", by_store=True)
    assert found == (samples, rejected)


@pytest.mark.parametrize("by_store", [False, True])
def test_an_image_that_was_missing_is_found_when_it_is_submitted_again(
    client: Client, tmp_path: Path, by_store: bool
) -> None:
    """A submission is named by all that it reads, not by the table alone."""
    path = conversations(tmp_path / "data")
    given = {"format": "llava", "by_store": by_store}
    assert counts(client, path, **given) == (2, {"image-missing": 1, "path-outside": 1})
    write(path.parent / "gone.png", image(8))
    assert counts(client, path, **given) == (3, {"path-outside": 1})
    write(path.parent / "images/other.png", image(6))
    assert submit(client, path, name="d", poll_seconds=0.02, **given).version == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("by_store", [False, True])
def test_an_encoding_is_named_either_way(client: Client, tmp_path: Path, by_store: bool) -> None:
    path = write(tmp_path / "d/a.png", image(0)).parent
    write(path / "a.txt", b"caf\xe9")
    options = ReadOptions(encoding="cp1252")
    submit(client, path, name="d", format="folder", options=options, by_store=by_store,
           poll_seconds=0.02)  # fmt: skip
    assert client.datasets.lineage("d", 1, "a").caption == "café"


@pytest.mark.parametrize(
    "row",
    [{"name": "../x", "kind": "missing"}, {"name": "/etc/x", "kind": "missing"}, {"read": "../.."},
     {"name": "x", "kind": "/etc/passwd"}, {"name": "x", "sent": "a.png"}, {"name": "x"}, 3,
     {"name": "x", "sent": "../../x"}, {"name": ".x", "kind": "folder"}, {"name": 3, "kind": "x"}],
)  # fmt: skip
def test_a_list_of_files_makes_no_link_to_anything(tmp_path: Path, row: object) -> None:
    """It is untrusted, as is all that is sent."""
    root = tmp_path / "root"
    write(root / "a.png", b"x")
    with pytest.raises(DataError, match="list of files is malformed"):
        lay_out(root, json.dumps(row).encode())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.png", "root"]


def test_a_file_inside_another_file_is_told(client: Client) -> None:
    client.datasets.create(DatasetIn(name="d", kind="pairs"))
    client.datasets.open_version("d", VersionIn(format="folder"))
    for name in ("a", "a/b.png"):
        client.datasets.put_piece("d", 1, name, 0, b"x")
    client.datasets.seal_version("d", 1)
    until(lambda: client.datasets.version("d", 1).state == "failed")
    assert (
        "beside another file whose name is that of its folder"
        in client.datasets.version("d", 1).error
    )


def test_other_hidden_files_are_not_taken(client: Client) -> None:
    client.datasets.create(DatasetIn(name="d", kind="pairs"))
    client.datasets.open_version("d", VersionIn(format="folder"))
    with pytest.raises(ApiError, match=TREE):
        client.datasets.put_piece("d", 1, ".odd/x", 0, b"x")
