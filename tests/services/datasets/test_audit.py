"""Audits: images that look alike, and benchmark images among the training data."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.support.embedded_platform import submitted
from tests.support.waiting import until
from vila2.client import ApiError, Client
from vila2.schemas.rest.datasets import Audit, AuditIn


def drawing(seed: int) -> Image.Image:
    """An image of large shapes, which a perceptual hash can tell from others."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (160, 120), tuple(int(v) for v in rng.integers(0, 256, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(8):
        x, y, w, h = (int(v) for v in rng.integers(0, 120, 4))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        draw.ellipse((x, y, x + w + 10, y + h + 10), fill=colour)
    return image


def saved(image: Image.Image, kind: str = "PNG", **how) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
        (path / name).with_suffix(".txt").write_text(name)
    return path


def audited(client: Client, name: str, **how) -> Audit:
    client.datasets.start_audit(name, 0, AuditIn(**how))
    until(lambda: client.datasets.audit(name).state != "running")
    return client.datasets.audit(name)


def training(client: Client, path: Path) -> None:
    first = drawing(0)
    submitted(
        client,
        folder(
            path,
            {
                "first.png": saved(first),
                "smaller.jpg": saved(first.resize((120, 90)), "JPEG", quality=70),
                "paler.png": saved(Image.blend(first, Image.new("RGB", first.size, "white"), 0.2)),
                **{f"other{n}.png": saved(drawing(n)) for n in range(1, 30)},
            },
        ),
        name="train",
    )


def test_the_same_image_in_another_size_is_found(client: Client, tmp_path: Path) -> None:
    """Resized, recompressed and paler ones are one group; none of the others is."""
    training(client, tmp_path / "train")
    found = audited(client, "train")
    assert (found.state, found.samples) == ("done", 32)
    assert (found.clusters, found.near_duplicates) == (1, 2)
    assert {pair.key for pair in found.examples} | {pair.other for pair in found.examples} == {
        "first", "smaller", "paler",
    }  # fmt: skip


def test_benchmark_images_in_the_training_data_are_reported(client: Client, tmp_path: Path) -> None:
    """Those that are there byte for byte, and those that look alike."""
    training(client, tmp_path / "train")
    bench = tmp_path / "bench"
    bench.mkdir()
    images = {
        "exact.png": saved(drawing(5)),
        "near.jpg": saved(drawing(6).resize((200, 150)), "JPEG", quality=60),
        "clean.png": saved(drawing(900)),
    }
    items = []
    for n, (name, data) in enumerate(images.items()):
        (bench / name).write_bytes(data)
        items.append(
            {"id": str(n), "image": name, "benchmark": "b", "kind": "k", "question": "what?",
             "answers": ["x"], "metric": "exact"}
        )  # fmt: skip
    (bench / "items.jsonl").write_text("\n".join(json.dumps(item) for item in items))
    submitted(client, bench, name="bench", format="benchmark")
    (held,) = audited(client, "train").contamination
    assert (held.benchmark, held.images, held.exact, held.near) == ("bench@1", 3, 1, 1)
    assert {(pair.key, pair.other) for pair in held.examples} == {
        ("exact", "other5"), ("near", "other6"),
    }  # fmt: skip


def test_a_version_that_was_not_audited_says_how_to(client: Client, tmp_path: Path) -> None:
    """With the command that does it."""
    submitted(client, folder(tmp_path / "one", {"a.png": saved(drawing(1))}), name="one")
    with pytest.raises(ApiError) as refused:
        client.datasets.audit("one")
    assert refused.value.problem.status == 404
    assert "datasets audit one@1" in refused.value.problem.fix


def test_auditing_again_after_a_new_benchmark_looks_at_it_too(
    client: Client, tmp_path: Path
) -> None:
    """Hashes that are there are used again; the findings are those of the last audit."""
    training(client, tmp_path / "train")
    assert audited(client, "train").contamination == []
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / "a.png").write_bytes(saved(drawing(7)))
    item = {"id": "1", "image": "a.png", "benchmark": "b", "kind": "k", "question": "what?",
            "answers": ["x"], "metric": "exact"}  # fmt: skip
    (bench / "items.jsonl").write_text(json.dumps(item))
    submitted(client, bench, name="bench", format="benchmark")
    assert [held.exact for held in audited(client, "train").contamination] == [1]
