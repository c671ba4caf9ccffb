"""Training and test images with captions for `consistency.py`."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from photos_prepare import Photo, read_photos, split
from PIL import Image

from vila2.data.images.decoding import decode
from vila2.data.sample import Sample, Turn
from vila2.data.shards import write_shard
from vila2.engine.reference import IMAGES
from vila2.scenes.language import dense_caption
from vila2.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZES,
    Nuisance,
    Scene,
    render,
    sample_scene,
)

QUESTION = "Describe the image in detail."
DRAWN_LABELLED, DRAWN_TEST = 4000, 500
PHOTOS_LABELLED, PHOTOS_TEST = 2500, 500


@dataclass(frozen=True, slots=True)
class Corpus:
    """A shard of labelled images, and test images with a true caption each.

    `altered` holds by attribute the true captions with that attribute changed; one is left
    unchanged if it has no such attribute. `references` are all true captions of each test image.
    `reference` are the labelled images over which the trainer takes the stored reference.
    """

    preset: str
    shard: Path
    labelled: int
    images: list[np.ndarray]
    captions: list[str]
    references: list[Sequence[str]]
    reference: np.ndarray
    altered: dict[str, list[str]] = field(default_factory=dict)


def drawn(folder: Path) -> Corpus:
    """Generated images with their dense captions."""
    labelled = [_scene("labelled", number) for number in range(DRAWN_LABELLED)]
    test = [_scene("test", number) for number in range(DRAWN_TEST)]
    samples = [
        _sample(f"{number:06d}", _png(pixels), [dense_caption(scene)])
        for number, (scene, pixels) in enumerate(labelled)
    ]
    scenes = [scene for scene, _ in test]
    captions = [dense_caption(scene) for scene in scenes]
    return Corpus(
        preset="tiny",
        shard=_shard(folder, samples),
        labelled=len(samples),
        images=[pixels for _, pixels in test],
        captions=captions,
        references=[[caption] for caption in captions],
        reference=np.stack([pixels for _, pixels in labelled[:IMAGES]]),
        altered={
            name: [
                dense_caption(changed(scene, name, number)) for number, scene in enumerate(scenes)
            ]
            for name in ("size", "colour", "shape", "background")
        },
    )


def changed(scene: Scene, attribute: str, seed: int) -> Scene:
    """The scene with one attribute of one object, or the background, changed."""
    rng = np.random.default_rng([5, seed])
    if attribute == "background":
        others = [name for name in BACKGROUNDS if name != scene.background]
        return replace(scene, background=str(rng.choice(others)))
    names = {"size": tuple(SIZES), "colour": tuple(COLOURS), "shape": SHAPES}[attribute]
    place = int(rng.integers(len(scene.things)))
    thing = scene.things[place]
    others = [name for name in names if name != getattr(thing, attribute)]
    changes: dict[str, Any] = {attribute: str(rng.choice(others))}
    other = replace(thing, **changes)
    return replace(scene, things=(*scene.things[:place], other, *scene.things[place + 1 :]))


def photographs(folder: Path, out: Path) -> Corpus:
    """Photographs with human captions; split by image as `photos_prepare.py` does."""
    found, _ = read_photos(folder)
    sizes = {"test": PHOTOS_TEST, "sft": PHOTOS_LABELLED}
    parts = split(found, sizes, seed=0)
    samples = [
        _sample(f"{number:06d}", photo.path.read_bytes(), photo.captions)
        for number, photo in enumerate(parts["sft"])
    ]
    return Corpus(
        preset="photos",
        shard=_shard(out, samples),
        labelled=len(samples),
        images=[_pixels(photo) for photo in parts["test"]],
        captions=[photo.captions[0] for photo in parts["test"]],
        references=[photo.captions for photo in parts["test"]],
        reference=np.stack([_pixels(photo) for photo in parts["sft"][:IMAGES]]),
    )


def _scene(split_name: str, number: int) -> tuple[Scene, np.ndarray]:
    rng = np.random.default_rng([7, ("labelled", "test").index(split_name), number])
    scene = sample_scene(rng, nuisance=Nuisance())
    return scene, render(scene, rng, nuisance=Nuisance())


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _pixels(photo: Photo) -> np.ndarray:
    return decode(photo.path.read_bytes(), size=(224, 224))


def _sample(key: str, image: bytes, captions: Sequence[str]) -> Sample:
    with Image.open(io.BytesIO(image)) as opened:
        kind, (width, height) = str(opened.format).lower().replace("jpeg", "jpg"), opened.size
    turns = tuple(Turn(QUESTION, caption) for caption in captions)
    digest = hashlib.sha256(image).hexdigest()
    return Sample(key, image, kind, digest, width, height, captions[0], turns)


def _shard(folder: Path, samples: Sequence[Sample]) -> Path:
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    write_shard(iter(samples), buffer)
    # Features are cached by the digest in a shard's name.
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = folder / f"000000-{digest}.tar"
    path.write_bytes(buffer.getvalue())
    return path
