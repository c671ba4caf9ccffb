"""Small files in the layouts in which benchmarks are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.datasets.samples import image


def images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image(seed, size=(100, 50)))
    return folder


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def document(path: Path, held: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(held))
    return path


def pope(folder: Path) -> Path:
    """Two splits of two questions, each about both images."""
    images(folder / "val2014", "a.jpg", "b.jpg")
    for split, label in (("random", "no"), ("adversarial", "yes")):
        lines(
            folder / f"coco_pope_{split}.json",
            {"question_id": 1, "image": "a.jpg", "text": "Is there a dog?", "label": "yes"},
            {"question_id": 2, "image": "b.jpg", "text": "Is there a cat?", "label": label},
        )
    return folder


def sugarcrepe(folder: Path) -> Path:
    """Two kinds, of two pairs and one."""
    images(folder, "a.jpg", "b.jpg")
    pair = {"filename": "a.jpg", "caption": "a dog", "negative_caption": "a cat"}
    other = {"filename": "b.jpg", "caption": "two dogs", "negative_caption": "three dogs"}
    document(folder / "replace_obj.json", {"0": pair, "1": other})
    document(folder / "add_att.json", {"0": pair})
    return folder


def coco_captions(folder: Path) -> Path:
    images(folder, "a.jpg", "b.jpg", "c.jpg")
    names = [{"id": n, "file_name": f"{name}.jpg"} for n, name in enumerate("abc")]
    said = [(0, "a dog"), (1, "a boat"), (0, "one dog"), (1, "boats")]
    notes = [{"image_id": image, "id": n, "caption": t} for n, (image, t) in enumerate(said)]
    return document(folder / "captions_val2014.json", {"images": names, "annotations": notes})


def karpathy(folder: Path) -> Path:
    images(folder, "val2014/a.jpg", "val2014/b.jpg")
    about = [
        {"filepath": "val2014", "filename": f"{name}.jpg", "split": split,
         "sentences": [{"raw": "a dog "}, {"raw": "one dog"}]}
        for name, split in (("a", "test"), ("b", "val"))
    ]  # fmt: skip
    return document(folder / "dataset_coco.json", {"images": about})


def docvqa(folder: Path) -> Path:
    images(folder, "documents/a.png")
    row = {"questionId": 7, "question": "What is the date?", "image": "documents/a.png",
           "answers": ["1/8/93", "1/8/1993"], "question_types": ["form"]}  # fmt: skip
    return document(folder / "val_v1.0.json", {"dataset_name": "docvqa", "data": [row]})


def refcoco(folder: Path) -> Path:
    images(folder, "a.jpg")
    row = {"img_path": "a.jpg", "width": 100, "height": 50, "expression": "the dog",
           "bbox": [10.0, 5.0, 60.0, 50.0]}  # fmt: skip
    return lines(folder / "REC_refcoco_unc_val.jsonl", row)


def easy_vqa(folder: Path) -> Path:
    images(folder / "test" / "images", "0.png", "1.png")
    asked = [["what color is the shape?", "red", 0], ["is there a circle?", "no", 1],
             ["what shape is it?", "circle", 0]]  # fmt: skip
    document(folder / "test" / "questions.json", asked)
    return folder
