"""Captions of a file become a sealed layer beside those of models."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.samples import image
from tests.support.embedded_platform import client_with, images, submitted
from vila2.client import ApiError, Client
from vila2.client.caption_import import import_captions
from vila2.client.export import export_dataset
from vila2.client.sidecars import export_sidecars
from vila2.data.admission import MAX_CAPTION_CHARACTERS
from vila2.data.layers import decode_layer_shard
from vila2.schemas.rest.datasets import CaptionFileIn, Layer

NAMES = ["a/b/IMG 1.png", "a/c/IMG 1.png", "Ünï 2.png", "b.final.png"]


@pytest.fixture
def folder(client: Client, tmp_path: Path) -> Path:
    """Four images in folders, submitted as `photos` in two shards."""
    root = tmp_path / "photos"
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(number))
        (root / name).with_suffix(".txt").write_text(f"old {number}")
    submitted(client, root, name="photos", shard_samples=2)
    return root


def table(path: Path, *rows: tuple[str, str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("file_name", "text"), *rows])
    return path


def held(client: Client, layer: Layer) -> dict[str, str]:
    """Caption or reason by key."""
    return {
        row.key: row.caption if row.status == "captioned" else row.reason
        for number in range(layer.shards)
        for row in decode_layer_shard(client.datasets.layer_content(layer.id, number))
    }


def by_source(client: Client, layer: Layer) -> dict[str, str]:
    """Caption or reason by the file's name."""
    found = held(client, layer)
    return {client.datasets.lineage("photos", 1, key).source: text for key, text in found.items()}


def test_captions_of_a_table_become_a_sealed_layer(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    """Samples without one are quarantined, rows without a sample are counted and shown."""
    path = table(tmp_path / "by hand.csv", (NAMES[0], "one"), ("/d/Ünï 2.png", "two,\ntwo"),
                 ("b.final.png", ""), ("nowhere.png", "x"))  # fmt: skip
    made = import_captions(client, "photos@1", path)
    layer = made.layer
    assert (layer.name, layer.state, layer.version) == ("by-hand", "sealed", 1)
    assert layer.captioner == "imported:by hand.csv"
    assert (layer.captioned, layer.quarantined) == (2, {"not-in-import": 2})
    assert (made.rows, made.matched, made.empty, made.unmatched) == (4, 2, 1, 1)
    assert [(row.row, row.key) for row in made.unmatched_examples] == [("line 6", "nowhere.png")]
    assert by_source(client, layer) == {
        NAMES[0]: "one", NAMES[1]: "not-in-import", NAMES[2]: "two,\ntwo", NAMES[3]: "not-in-import"
    }  # fmt: skip


def test_importing_again_finds_the_layer_and_other_captions_make_another(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    """Whatever kind of file and whatever order they are in."""
    rows = [(NAMES[0], "one"), (NAMES[2], "two")]
    first = import_captions(client, "photos", table(tmp_path / "c.csv", *rows), name="hand")
    again = import_captions(client, "photos", table(tmp_path / "c.csv", *rows[::-1]), name="hand")
    assert again == first
    rows.append((NAMES[3], "three"))
    more = import_captions(client, "photos", table(tmp_path / "c.csv", *rows), name="hand")
    assert more.layer.id != first.layer.id
    assert client.datasets.layer("hand").id == more.layer.id
    assert len(client.datasets.layers()) == 2


def test_texts_beside_images_elsewhere_are_captions_of_the_dataset(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    """In the folders of the images."""
    for name in NAMES:
        text = (tmp_path / "texts" / name).with_suffix(".txt")
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(f"new {name}")
    made = import_captions(client, "photos", tmp_path / "texts")
    assert made.matched == 4
    assert by_source(client, made.layer) == {name: f"new {name}" for name in NAMES}


@pytest.mark.parametrize("format", ["folder", "llava", "parquet"])
def test_an_exported_table_is_a_file_of_captions(
    client: Client, folder: Path, tmp_path: Path, format: str
) -> None:
    """Export, let another tool change the captions, import."""
    out = tmp_path / "out"
    export_dataset(client, "photos", out, text="original", format=format)
    if format == "folder":
        path = out / "captions.csv"
    elif format == "parquet":
        path = next((out / "data").iterdir())
    else:
        path = tmp_path / "c.json"
        rows = json.loads((out / "conversations.json").read_text())
        told = {row["id"]: row["conversations"][1]["value"] for row in rows}
        path.write_text(json.dumps(told))
    made = import_captions(client, "photos", path, name="back")
    assert by_source(client, made.layer) == {name: f"old {n}" for n, name in enumerate(NAMES)}


def refusal(client: Client, path: Path, **columns: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        import_captions(client, "photos", path, **columns)
    return refused.value


def test_a_file_that_matches_nothing_is_refused_with_names_of_both(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    """And no layer is made."""
    error = refusal(client, table(tmp_path / "c.csv", *((f"r{n}", "x") for n in range(5))))
    assert (error.problem.status, error.problem.field) == (422, "key")
    assert "'r0', 'r1', 'r2', the dataset has" in str(error)
    assert "from 'a/b/IMG 1.png'" in str(error)
    assert "--key-column" in str(error)
    assert client.datasets.layers() == []


def test_two_captions_of_one_image_are_refused_by_their_lines(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    """Also where the lines call it by different names."""
    for other in (NAMES[0], "/data/" + NAMES[0]):
        path = table(tmp_path / "c.csv", (NAMES[0], "one"), (NAMES[2], "x"), (other, "two"))
        if other == NAMES[0]:
            assert "line 2 and line 4 have different captions" in str(refusal(client, path))
        else:
            assert import_captions(client, "photos", path).unmatched == 1
    assert "none of the 1 rows has a caption" in str(
        refusal(client, table(tmp_path / "c.csv", (NAMES[0], " ")))
    )


def test_a_caption_that_is_too_long_is_quarantined_and_counted(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    """As longer captions are not admitted with a dataset either."""
    long = "x" * (MAX_CAPTION_CHARACTERS + 1)
    path = table(tmp_path / "c.csv", (NAMES[0], "one"), (NAMES[2], long))
    layer = import_captions(client, "photos", path).layer
    assert layer.quarantined == {"caption-too-long": 1, "not-in-import": 2}


@pytest.mark.parametrize("body", [b"", b"PAR1 and no more", b"key,caption\na,b\n"])
def test_a_body_that_is_no_parquet_is_refused(client: Client, folder: Path, body: bytes) -> None:
    """It is read in a process of its own, since strangers send it."""
    with pytest.raises(ApiError) as refused:
        client.datasets.import_captions("photos", 1, CaptionFileIn(name="x"), body)
    assert (refused.value.problem.status, refused.value.problem.field) == (422, "body")


def test_another_team_has_no_such_dataset(
    platform: EmbeddedPlatform, client: Client, folder: Path, tmp_path: Path
) -> None:
    """Nor has anybody a version that there is not."""
    path = table(tmp_path / "c.csv", (NAMES[0], "one"))
    blue = client_with(platform, platform.identity.keys.issue(team="blue"))
    for who, dataset in ((blue, "photos"), (client, "photos@9"), (client, "none")):
        with pytest.raises(ApiError) as refused:
            import_captions(who, dataset, path)
        assert refused.value.problem.status == 404


def test_a_layer_goes_out_beside_the_images_and_comes_in_again(
    client: Client, folder: Path, tmp_path: Path
) -> None:
    """Without an image being sent; texts that were there are kept."""
    rows = [(name, f"new {n}") for n, name in enumerate(NAMES[:3])]
    made = import_captions(client, "photos", table(tmp_path / "c.csv", *rows))
    summary, plan = export_sidecars(client, "photos", folder, layer=made.layer.id)
    assert (summary.written, summary.kept.count, plan.record.format) == (0, 3, "sidecars")
    summary, _ = export_sidecars(client, "photos", folder, layer=made.layer.id, overwrite=True)
    assert (summary.replaced, summary.extra.examples) == (3, [NAMES[3]])
    found = [(folder / name).with_suffix(".txt").read_text() for name in NAMES]
    assert found == ["new 0", "new 1", "new 2", "old 3"]
    assert (folder / "a/b/IMG 1.txt.bak").read_text() == "old 0"
    version = submitted(client, folder, name="photos")
    assert (version.samples, version.rejected) == (4, {})


def test_ids_and_order_of_llava_survive_the_store(client: Client, tmp_path: Path) -> None:
    """From conversations.json through a layer to conversations.json."""
    root = images(tmp_path / "in", count=3)
    order = [("000000033471", 2), ("b/7", 0), ("a", 1)]
    told = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A fox."}]
    rows = [{"id": i, "image": f"p{n}.png", "conversations": told} for i, n in order]
    (root / "conversations.json").write_text(json.dumps(rows))
    submitted(client, root, name="talks", format="llava", shard_samples=2)
    (tmp_path / "c.json").write_text(json.dumps({i: f"a fox {i}" for i, _ in order}))
    made = import_captions(client, "talks", tmp_path / "c.json")
    assert made.matched == 3
    export_dataset(client, "talks", tmp_path / "out", layer=made.layer.id, format="llava")
    found = json.loads((tmp_path / "out" / "conversations.json").read_text())
    assert [row["id"] for row in found] == [i for i, _ in order]
    assert [row["conversations"][1]["value"] for row in found] == [f"a fox {i}" for i, _ in order]
