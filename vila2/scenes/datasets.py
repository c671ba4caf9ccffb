"""Write the image world as folders in the input formats.

Every split has its own random streams, so its images do not change when another split's size
does. The corpus folder holds images and alt-text only: its truth is never written, and can be
regenerated (`true_captions`) only by importing this package, which no service does.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vila2.scenes import language as say
from vila2.scenes.world import Nuisance, Scene, render, sample_scene
from vila2.schemas.canonical import canonical_json

QUESTION_DRAWS = 3
SPLITS = ("corpus", "sft", "spatial", "ocr", "grounding", "base", "dev", "test")


@dataclass(frozen=True, slots=True)
class WorldSizes:
    """Images per split, and how noisy images and alt-text are."""

    corpus: int = 6000
    sft: int = 150
    specialist: int = 150
    base: int = 4000
    dev: int = 300
    test: int = 300
    junk: float = 0.25
    wrong: float = 0.2
    sft_skills: int = 75
    nuisance: Nuisance = field(default_factory=Nuisance)

    def of(self, split: str) -> int:
        """Number of images of a split."""
        return self.specialist if split in ("spatial", "ocr", "grounding") else getattr(self, split)

    def scaled(self, share: float) -> WorldSizes:
        """A share of the images of every split, at least eight."""
        counted = ("corpus", "sft", "specialist", "base", "dev", "test", "sft_skills")
        fewer = {name: max(8, round(getattr(self, name) * share)) for name in counted}
        return replace(self, **fewer)


def write_world(
    directory: Path,
    *,
    sizes: WorldSizes,
    seed: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Write every split below `directory`; a complete split is kept.

    `progress(split, done, total)` is called periodically.
    """
    # A digest, and outside the split's folder: with the seed in `corpus/`, any reader of it could
    # regenerate its truth.
    recipe = canonical_json({"sizes": asdict(sizes), "seed": seed})
    stamp = hashlib.sha256(recipe).hexdigest()
    writers = {"corpus": _write_corpus, "dev": _write_benchmark, "test": _write_benchmark}
    for split in SPLITS:
        folder = directory / split
        done = directory / f".{split}.complete"
        if done.exists() and done.read_text() == stamp:
            continue
        done.unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        writers.get(split, _write_conversations)(folder, split, sizes, seed, progress)
        done.write_text(stamp)


def write_split(folder: Path, split: str, *, sizes: WorldSizes, seed: int) -> None:
    """Write one split into an empty folder, as `write_world` does."""
    writers = {"corpus": _write_corpus, "dev": _write_benchmark, "test": _write_benchmark}
    writers.get(split, _write_conversations)(folder, split, sizes, seed, None)


def true_captions(*, sizes: WorldSizes, seed: int) -> dict[str, str]:
    """Clean dense captions of the corpus by file name: for controls and tests, never for a run."""
    return {name: say.dense_caption(scene) for name, scene, _ in _scenes("corpus", sizes, seed)}


def _scenes(
    split: str, sizes: WorldSizes, seed: int
) -> Iterator[tuple[str, Scene, np.random.Generator]]:
    stream = SPLITS.index(split)
    for index in range(sizes.of(split)):
        rng = np.random.default_rng([seed, stream, index])
        if split == "base":
            scene = sample_scene(rng, nuisance=sizes.nuisance, most=1, with_number=0.2)
        else:
            with_number = 0.85 if split == "ocr" else 0.5
            scene = sample_scene(rng, nuisance=sizes.nuisance, with_number=with_number)
        yield f"{index:06d}.png", scene, rng


def _images(
    folder: Path,
    split: str,
    sizes: WorldSizes,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
) -> Iterator[tuple[str, Scene, np.random.Generator]]:
    total = sizes.of(split)
    for done, (name, scene, rng) in enumerate(_scenes(split, sizes, seed), 1):
        pixels = render(scene, np.random.default_rng(rng.integers(2**63)), nuisance=sizes.nuisance)
        Image.fromarray(pixels).save(folder / name, compress_level=1)
        yield name, scene, rng
        if progress and (done % 500 == 0 or done == total):
            progress(split, done, total)


def _write_corpus(folder: Path, split: str, sizes: WorldSizes, seed: int, progress: Any) -> None:
    with (folder / "captions.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["image", "caption"])
        for name, scene, rng in _images(folder, split, sizes, seed, progress):
            table.writerow([name, say.alt_text(scene, rng, junk=sizes.junk, wrong=sizes.wrong)])


def _write_conversations(
    folder: Path, split: str, sizes: WorldSizes, seed: int, progress: Any
) -> None:
    rows = []
    for index, (name, scene, rng) in enumerate(_images(folder, split, sizes, seed, progress)):
        turns = _turns(split, scene, rng, skills=index < sizes.sft_skills)
        messages = [
            message
            for question, answer in turns
            for message in (
                {"from": "human", "value": f"<image>\n{question}"},
                {"from": "gpt", "value": answer},
            )
        ]
        rows.append({"id": f"{split}-{index}", "image": name, "conversations": messages})
    (folder / "conversations.json").write_text(json.dumps(rows, indent=0))


def _turns(
    split: str, scene: Scene, rng: np.random.Generator, *, skills: bool
) -> list[tuple[str, str]]:
    direct = say.direct_questions(scene)
    if split == "base":
        return [(say.CAPTION_PROMPTS[0], say.dense_caption(scene))]
    if split == "sft":
        turns = [(prompt, say.dense_caption(scene)) for prompt in say.CAPTION_PROMPTS]
        # Each draw asks about other objects: the few labelled images give what they can.
        for _ in range(QUESTION_DRAWS):
            turns += [(q, answer) for _, q, answer in say.general_questions(scene, rng)]
        if skills:
            turns += [turn for asked in direct.values() for turn in asked]
        return turns
    text, prompts = {
        "spatial": (say.spatial_text(scene), say.SPATIAL_PROMPTS),
        "ocr": (say.ocr_text(scene), say.OCR_PROMPTS),
        "grounding": (say.grounding_text(scene), say.GROUNDING_PROMPTS),
    }[split]
    return [(prompt, text) for prompt in prompts] + direct[split]


def _write_benchmark(folder: Path, split: str, sizes: WorldSizes, seed: int, progress: Any) -> None:
    with (folder / "items.jsonl").open("w") as out:
        for index, (name, scene, rng) in enumerate(_images(folder, split, sizes, seed, progress)):
            for number, item in enumerate(_items(scene, rng)):
                row = {"id": f"{split}-{index}-{number}", "image": name, **item}
                out.write(json.dumps(row) + "\n")


def _items(scene: Scene, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    def item(benchmark: str, kind: str, question: str, answer: str, metric: str) -> dict[str, Any]:
        return {
            "benchmark": benchmark, "kind": kind, "question": question,
            "answers": [answer], "metric": metric,
        }  # fmt: skip

    yield item("caption", "dense", say.CAPTION_PROMPTS[0], say.dense_caption(scene), "object_f1")
    for kind, question, answer in say.general_questions(scene, rng):
        yield item("vqa", kind, question, answer, "exact")
    metrics = {"spatial": "exact", "ocr": "exact", "grounding": "iou50"}
    for skill, asked in say.direct_questions(scene).items():
        question, answer = asked[int(rng.integers(len(asked)))]
        if skill != "ocr" or scene.number is not None:
            yield item(skill, "direct", question, answer, metrics[skill])
