"""Every format with real images, where a folder of them is at hand.

VILA2_REAL_DATA names a folder with flickr8k/ (images/, captions.csv), coco_mini/ (train2017/,
annotations/), ocr/ and web_pairs/; without it these tests are skipped.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.servers.image_web_server import Page, images_web
from vila2.client import Client
from vila2.client.export import export_dataset
from vila2.client.submit import submit
from vila2.data.fetch import FetchPolicy
from vila2.data.readers import ReadOptions
from vila2.schemas.rest.datasets import AuditIn

REAL = Path(os.environ.get("VILA2_REAL_DATA") or "/nonexistent")
pytestmark = pytest.mark.skipif(
    not REAL.is_dir(), reason="set VILA2_REAL_DATA to a folder with real images"
)
COUNT = 200


def flickr(count: int = COUNT) -> list[tuple[Path, str]]:
    """Images with their first captions."""
    first: dict[str, str] = {}
    with (REAL / "flickr8k" / "captions.csv").open() as lines:
        for row in csv.DictReader(lines):
            first.setdefault(row["image"], row["caption"])
    folder = REAL / "flickr8k" / "images"
    held = [(folder / name, text) for name, text in first.items() if (folder / name).is_file()]
    return held[:count]


def submitted(client: Client, path: Path, *, name: str, format: str, **options):
    version = submit(
        client, path, name=name, format=format, options=ReadOptions(**options), poll_seconds=0.05
    )
    assert version.state == "ready", version.error
    return version


def test_a_folder_with_a_table_of_five_captions_each(client: Client, tmp_path: Path) -> None:
    """All of them are kept."""
    (tmp_path / "d").mkdir()
    with (tmp_path / "d" / "captions.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(("image", "caption"))
        for path, text in flickr():
            shutil.copy(path, tmp_path / "d")
            table.writerow((path.name, text))
            table.writerow((path.name, f"{text} again"))
    version = submitted(client, tmp_path / "d", name="flickr", format="folder")
    assert (version.samples, version.rejected) == (COUNT, {})
    assert version.notes == {"further-captions": COUNT}


def test_a_hugging_face_dataset(client: Client, tmp_path: Path) -> None:
    """Saved by `datasets` itself."""
    from datasets import Dataset, Features, Image, Value

    held = flickr()
    rows = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path, _ in held],
        "caption": [text for _, text in held],
    }
    features = Features({"image": Image(), "caption": Value("string")})
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    version = submitted(client, tmp_path / "saved", name="hf", format="parquet")
    assert (version.samples, version.rejected) == (COUNT, {})


def test_img2dataset_tars(client: Client, tmp_path: Path) -> None:
    """Beside the table of what was downloaded."""
    folder = tmp_path / "out"
    folder.mkdir()
    rows = []
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for n, (path, text) in enumerate(flickr()):
            about = {"key": f"{n:09d}", "url": f"https://example.org/{path.name}",
                     "caption": text, "status": "success", "error_message": None}  # fmt: skip
            rows.append(about)
            for extension, data in (("jpg", path.read_bytes()), ("txt", text.encode()),
                                    ("json", json.dumps(about).encode())):  # fmt: skip
                info = tarfile.TarInfo(f"{n:09d}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")
    assert submitted(client, folder, name="i2d", format="img2dataset").samples == COUNT


def test_coco_as_conversations(client: Client, tmp_path: Path) -> None:
    """All captions of an image as turns about it."""
    given = json.loads((REAL / "coco_mini/annotations/captions_train2017.json").read_text())
    names = {image["id"]: image["file_name"] for image in given["images"]}
    talk = [
        {"id": n, "image": names[row["image_id"]], "conversations": [
            {"from": "human", "value": "<image>\nDescribe the image."},
            {"from": "gpt", "value": row["caption"]}]}
        for n, row in enumerate(given["annotations"])
    ]  # fmt: skip
    shutil.copytree(REAL / "coco_mini" / "train2017", tmp_path / "coco" / "images")
    (tmp_path / "coco" / "conversations.json").write_text(json.dumps(talk))
    version = submitted(client, tmp_path / "coco", name="coco", format="llava")
    assert (version.samples, version.rejected) == (80, {})


def test_tars_without_captions(client: Client) -> None:
    """Two tars repeat images of the first: counted, and kept once."""
    path = REAL / "web_pairs/tests/test_clip_inference/test_tars"
    version = submitted(client, path, name="web", format="webdataset", captionless=True)
    assert version.samples == 7
    assert sum(version.rejected.values()) == 4


def test_photographs_of_text_without_captions(client: Client) -> None:
    """Street photographs, to be captioned by a specialist."""
    path = REAL / "ocr/tests/data/det_toy_dataset/imgs/test"
    version = submitted(client, path, name="ocr", format="folder", captionless=True)
    assert (version.samples, version.rejected) == (10, {})


def test_a_list_of_addresses(tmp_path: Path) -> None:
    """Fetched from a server here, as an operator allows on purpose."""
    held = flickr(50)
    pages = {
        f"/{path.name}": Page(path.read_bytes(), headers={"content-type": "image/jpeg"})
        for path, _ in held
    }
    policy = FetchPolicy(allow_networks=("127.0.0.1/32",))
    with images_web(pages) as web, EmbeddedPlatform(tmp_path / "w", fetching=policy) as platform:
        lines = [json.dumps({"url": f"{web.url}/{p.name}", "caption": t}) for p, t in held]
        (tmp_path / "list.jsonl").write_text("\n".join(lines))
        version = submitted(platform.client, tmp_path / "list.jsonl", name="urls", format="urls")
    assert (version.samples, version.rejected) == (50, {})


def test_resized_photographs_are_found_and_different_ones_are_not(
    client: Client, tmp_path: Path
) -> None:
    """Of 200 photographs, 50 come again at another size and quality: those, and no others."""
    from PIL import Image

    (tmp_path / "d").mkdir()
    for n, (path, text) in enumerate(flickr()):
        shutil.copy(path, tmp_path / "d" / path.name)
        (tmp_path / "d" / path.name).with_suffix(".txt").write_text(text)
        if n < 50:
            again = tmp_path / "d" / f"again-{path.name}"
            Image.open(path).resize((180, 180)).save(again, quality=60)
            again.with_suffix(".txt").write_text(text)
    submitted(client, tmp_path / "d", name="d", format="folder")
    client.datasets.start_audit("d", 0, AuditIn())
    while (found := client.datasets.audit("d")).state == "running":
        pass
    assert found.near_duplicates == 50
    assert all(pair.other.removeprefix("again-") == pair.key.removeprefix("again-")
               for pair in found.examples)  # fmt: skip


def test_an_export_loads_in_hugging_face_datasets(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real images, offline, as another team would use it."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    from datasets import load_dataset

    path = REAL / "ocr/tests/data/det_toy_dataset/imgs/test"
    for n, image in enumerate(sorted(path.glob("*.jpg"))):
        (tmp_path / "d").mkdir(exist_ok=True)
        shutil.copy(image, tmp_path / "d" / image.name)
        (tmp_path / "d" / image.name).with_suffix(".txt").write_text(f"street {n}")
    submitted(client, tmp_path / "d", name="d", format="folder")
    export_dataset(client, "d", tmp_path / "out", format="parquet", text="original")
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(rows["caption"]) == sorted(f"street {n}" for n in range(10))
    assert rows[0]["image"].size == (1280, 720)
