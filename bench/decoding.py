"""Effect of scaled image decoding on captions, compared with transformers' image processor.

    python bench/decoding.py FOLDER --test captions_val2017.json val2017

A captioner is trained briefly on the human captions in FOLDER, which has the layout of
photos_prepare.py. It then captions the images of a COCO captions file twice with greedy decoding.
Our decoder reads a JPEG at the smallest DCT scale that is large enough and resizes it; the
processor reads it at full size and resizes it. Images less than twice the model's size are left
out, as both read them at full size. Prints the number of identical captions and both CIDEr-D scores
with the paired interval of their difference, and writes bench/decoding.json.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from consistency import MAX_NEW_TOKENS, Training, trained
from consistency_data import QUESTION, photographs
from PIL import Image
from rich.console import Console

from vila2.data.images.decoding import decode
from vila2.engine.captioner import Captioner
from vila2.engine.requests import Request
from vila2.evaluation.metrics.cider import cider_d
from vila2.schemas.sampling import Sampling

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Tested:
    """An image with its human captions."""

    name: str
    jpeg: bytes
    captions: tuple[str, ...]


def large(file: Path, folder: Path, side: int) -> list[Tested]:
    """The existing images of a COCO captions file that are at least twice `side` in both axes."""
    told = json.loads(file.read_text())
    captions: dict[int, list[str]] = {}
    for held in told["annotations"]:
        captions.setdefault(held["image_id"], []).append(held["caption"])
    found = []
    for image in sorted(told["images"], key=lambda image: image["id"]):
        path = folder / image["file_name"]
        if not path.is_file() or image["id"] not in captions:
            continue
        jpeg = path.read_bytes()
        if min(Image.open(io.BytesIO(jpeg)).size) >= 2 * side:
            found.append(Tested(image["file_name"], jpeg, tuple(captions[image["id"]])))
    return found


def processed(jpegs: Sequence[bytes], side: int) -> list[np.ndarray]:
    """Images resized as transformers' processor does, uint8 (side, side, 3)."""
    from transformers import SiglipImageProcessor

    resize = SiglipImageProcessor(
        size={"height": side, "width": side}, do_rescale=False, do_normalize=False
    )
    made = []
    for jpeg in jpegs:
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        pixels = np.asarray(resize(image, return_tensors="np")["pixel_values"][0])
        made.append(np.clip(pixels.transpose(1, 2, 0).round(), 0, 255).astype(np.uint8))
    return made


def captions(captioner: Captioner, images: Sequence[np.ndarray]) -> list[str]:
    """Greedy captions."""
    how = Sampling(max_new_tokens=MAX_NEW_TOKENS)
    asked = [Request(pixels, QUESTION, 0, how) for pixels in images]
    return [made.text for made in captioner.generate(asked)]


def interval(differences: np.ndarray) -> list[float]:
    """95% percentile bootstrap of the mean over images."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[drawn].mean(1), [2.5, 97.5])
    return [float(low), float(high)]


def main() -> None:
    """Train, caption twice, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("photos", type=Path, help="folder with images/ and captions.csv")
    parser.add_argument(
        "--test", type=Path, nargs=2, action="append", required=True,
        metavar=("CAPTIONS", "IMAGES"), help="a COCO captions file and its images; repeatable",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as name:
        corpus = photographs(given.photos, Path(name) / "shard")
        how = Training(given.steps, 32, "adamw", None)
        captioner, _ = trained(corpus, Path(name) / "model", how)
    side = captioner.image_size
    test = [photo for file, folder in given.test for photo in large(file, folder, side)]
    jpegs = [photo.jpeg for photo in test]
    references = {photo.name: photo.captions for photo in test}
    images = {"ours": [decode(jpeg, size=(side, side)) for jpeg in jpegs],
                "processor": processed(jpegs, side)}  # fmt: skip
    said = {way: captions(captioner, held) for way, held in images.items()}
    scores = {
        way: np.array(list(cider_d(dict(zip(references, texts, strict=True)), references)
                           .per_item.values()))
        for way, texts in said.items()
    }  # fmt: skip
    same = [one == other for one, other in zip(said["ours"], said["processor"], strict=True)]
    gaps = [
        np.abs(one.astype(int) - other).mean()
        for one, other in zip(images["ours"], images["processor"], strict=True)
    ]
    figures = {
        "images": len(test), "side": side, "steps": given.steps,
        "mean_difference_of_255": float(np.mean(gaps)),
        "same_caption": float(np.mean(same)),
        "distinct_captions": len(set(said["ours"])),
        "cider_d": {way: float(held.mean()) for way, held in scores.items()},
        "cider_d_difference": interval(scores["ours"] - scores["processor"]),
    }  # fmt: skip
    Console().print(figures)
    given.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
