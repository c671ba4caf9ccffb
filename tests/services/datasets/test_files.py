"""Files as they are: uploaded in pieces, and read by the store in a process of its own."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from tests.support.datasets.samples import image, tar_of
from tests.support.embedded_platform import images
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.client.submit import submit
from vila2.schemas.rest.datasets import DatasetIn, Version, VersionIn


def folder(path: Path) -> Path:
    return images(path)


def webdataset(path: Path) -> Path:
    path.mkdir()
    members = [(f"{n}.{e}", d) for n in range(4)
               for e, d in (("png", image(n)), ("txt", f"fox {n}".encode()))]  # fmt: skip
    (path / "a.tar").write_bytes(tar_of(*members))
    return path


def parquet(path: Path) -> Path:
    path.mkdir()
    rows = [{"image": {"bytes": image(n), "path": "p"}, "caption": f"fox {n}"} for n in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), path / "train.parquet")
    return path


def img2dataset(path: Path) -> Path:
    path.mkdir()
    members = []
    for n in range(4):
        about = json.dumps({"url": f"https://example.org/{n}.png", "caption": f"fox {n}"}).encode()
        members += [(f"{n:09d}.png", image(n)), (f"{n:09d}.json", about)]
    (path / "00000.tar").write_bytes(tar_of(*members))
    rows = [{"key": f"{n:09d}", "url": "u", "status": "success", "error_message": None}
            for n in range(4)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path / "00000.parquet")
    return path


def llava(path: Path) -> Path:
    images(path / "images")
    talk = [{"image": f"p{n}.png", "conversations": [
        {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"fox {n}"}]}
        for n in range(4)]  # fmt: skip
    (path / "conversations.json").write_text(json.dumps(talk))
    return path


FORMATS = {f.__name__: f for f in (folder, webdataset, parquet, img2dataset, llava)}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("by_store", [False, True])
def test_every_format_comes_in_by_either_way(
    client: Client, tmp_path: Path, format: str, by_store: bool
) -> None:
    """The client reads it and sends samples, or the store reads the files: the same samples."""
    path = FORMATS[format](tmp_path / "data")
    version = submit(client, path, name="d", format=format, by_store=by_store, poll_seconds=0.02)
    assert (version.state, version.samples, version.rejected) == ("ready", 4, {}), version.error


def opened(client: Client, format: str = "folder") -> Version:
    client.datasets.create(DatasetIn(name="d", kind="pairs"))
    return client.datasets.open_version("d", VersionIn(format=format))


def sealed(client: Client) -> Version:
    client.datasets.seal_version("d", 1)
    until(lambda: client.datasets.version("d", 1).state != "ingesting")
    return client.datasets.version("d", 1)


def test_a_file_is_put_together_from_its_pieces(client: Client) -> None:
    """In the order of their numbers, whichever order they came in."""
    opened(client)
    data = image(0)
    client.datasets.put_piece("d", 1, "a.png", 1, data[100:])
    client.datasets.put_piece("d", 1, "a.png", 0, data[:100])
    client.datasets.put_piece("d", 1, "a.txt", 0, b"a fox")
    assert sealed(client).samples == 1


def test_a_missing_piece_fails_the_version_with_its_file(client: Client) -> None:
    """Half a file is not read as a whole one."""
    opened(client)
    client.datasets.put_piece("d", 1, "a.png", 1, image(0)[100:])
    client.datasets.put_piece("d", 1, "a.txt", 0, b"a fox")
    version = sealed(client)
    assert version.state == "failed"
    assert "a.png" in version.error


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "a/../../b.png", ".hidden", "a//b.png",
                                  "a\\b.png", "a\x00.png", "x" * 400])  # fmt: skip
def test_a_name_that_could_leave_its_folder_is_refused(client: Client, name: str) -> None:
    """Before anything is written."""
    opened(client)
    with pytest.raises(ApiError) as refused:
        client.datasets.put_piece("d", 1, name, 0, b"x")
    assert refused.value.problem.status in (404, 405, 422)
    assert client.datasets.uploads("d", 1) == []


def test_parts_of_samples_and_files_do_not_mix(client: Client) -> None:
    """A version was opened for one or the other."""
    opened(client)
    part = io.BytesIO()
    from vila2.data.shards import write_raw_shard

    write_raw_shard([], part)
    with pytest.raises(ApiError, match="takes files"):
        client.datasets.put_part("d", 1, 0, part.getvalue())


def test_a_file_beside_a_folder_of_its_name_is_told(client: Client) -> None:
    """No disk holds both; where the store keeps its files is not told."""
    opened(client)
    for name in ("a", "a/b.png"):
        client.datasets.put_piece("d", 1, name, 0, b"x")
    version = sealed(client)
    assert version.state == "failed"
    assert "a/b.png was uploaded beside" in version.error
    assert "/tmp" not in version.error


def test_what_is_wrong_is_told_without_the_stores_folders(client: Client) -> None:
    opened(client, "img2dataset")
    client.datasets.put_piece("d", 1, "00000.tar", 0, tar_of(("1.png", image(0)), ("1.txt", b"x")))
    client.datasets.put_piece("d", 1, "00000.parquet", 0, b"cut")
    assert sealed(client).rejected == {"shard-damaged": 1}
    (told,) = client.datasets.rejected("d", 1)
    assert "00000.parquet" in told.detail
    assert "vila2-ingest" not in told.detail


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "a//b", "./a"])
def test_a_prefix_that_leaves_its_source_is_refused_at_once(client: Client, prefix: str) -> None:
    with pytest.raises(ValidationError, match="within the source"):
        VersionIn(format="webdataset", origin="lab", prefix=prefix)


def test_a_hostile_parquet_file_fails_the_version_and_not_the_service(client: Client) -> None:
    """Its reader is a process of its own; the error names the file."""
    opened(client, "parquet")
    good = io.BytesIO()
    pq.write_table(pa.table({"image": [image(0)], "caption": ["a"]}), good)
    data = bytearray(good.getvalue())
    data[4:200] = bytes(196)
    client.datasets.put_piece("d", 1, "bad.parquet", 0, bytes(data))
    assert sealed(client).rejected == {"file-damaged": 1}
    (example,) = client.datasets.rejected("d", 1)
    assert "bad.parquet" in example.detail


def test_the_reader_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that reads strangers' files does not inherit the environment."""
    from vila2.data.readers import ReadOptions
    from vila2.data.sandboxed_reader import read_apart

    monkeypatch.setenv("LAB_SECRET_KEY", "do-not-pass-on")
    seen: dict[str, str] = {}
    import subprocess

    real = subprocess.Popen

    def spy(*arguments, **options):
        seen.update(options["env"])
        return real(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", spy)
    assert len(list(read_apart("folder", images(tmp_path / "d"), ReadOptions()))) == 4
    assert "LAB_SECRET_KEY" not in seen


def test_what_was_uploaded_is_gone_once_the_version_is_ready(platform, tmp_path: Path) -> None:
    """The samples lie in shards; a second copy would double the store."""
    submit(platform.client, images(tmp_path / "d"), name="d", format="folder", poll_seconds=0.02)
    left = platform.workspace / "objects" / "uploads"
    until(lambda: not [f for f in left.rglob("*") if f.is_file()])


def test_a_csv_with_a_formula_is_taken_as_text(client: Client, tmp_path: Path) -> None:
    """And goes out with an apostrophe (see the export's tests)."""
    path = images(tmp_path / "d", count=1)
    (path / "p0.txt").unlink()
    with (path / "captions.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["image", "caption"], ["p0.png", "=cmd|' /C calc'!A0"]])
    version = submit(client, path, name="d", format="folder", poll_seconds=0.02)
    assert version.samples == 1
    assert client.datasets.lineage("d", 1, "p0").caption == "=cmd|' /C calc'!A0"


def test_a_version_may_be_checked_by_structure_alone(client: Client, tmp_path: Path) -> None:
    """For images that were decoded before: what is cut is still found."""
    from vila2.data.readers import ReadOptions

    path = images(tmp_path / "d", count=3)
    (path / "p0.png").write_bytes(image(0)[:-20])
    options = ReadOptions(structure_only=True)
    version = submit(client, path, name="d", format="folder", options=options, poll_seconds=0.02)
    assert (version.samples, version.rejected) == (2, {"image-truncated": 1})
