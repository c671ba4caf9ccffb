"""Turn a folder of captioned photographs into the four folders that a photo run needs.

    python bench/photos_prepare.py PHOTOS OUT [--images N] [--sft 1200 --dev 400 --test 500]

PHOTOS has the layout of Flickr8k (Hodosh et al. 2013): `images/` and `captions.csv` with the
columns image and caption, several rows per image. Flickr8k itself may be used for
non-commercial research only and is not part of this project: use your own copy, or other
photographs. The folders and files of OUT:

    corpus/  images, and captions.csv with one noisy alt-text each; the loop recaptions them
    sft/     other images, and conversations.json with every human caption in LLaVA's format
    dev/     other images, and items.jsonl; for choosing settings
    test/    other images, and items.jsonl; for reporting once
    corpus_clean.csv   a human caption per corpus image, only for a control with perfect
                       captions; the loop must not read it
    noise.csv          the noise applied to each alt-text, for evaluating a filter

Splits are by image. An image's split depends on the seed and its bytes, and test is filled first,
so the test set does not change with `--images` or the size of another split. Of images with the
same bytes one is kept, so no image is in two splits.

Alt-text noise is drawn per image from the seed and imitates web alt-text:

    junk       20 %  text of a camera or template: "IMG_2034.jpg", "photo"
    swapped    30 %  words from another corpus image's caption
    truncated  rest  words from the image's own caption

The latter two keep 2 to 5 content words of one human caption, in order, so that they have the same
form. The summary prints measured shares, not requested ones.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vila2.evaluation.metrics.cider import cider_d, tokenise

QUESTION = "Describe the image."
JUNK_SHARE = 0.20
SWAPPED_SHARE = 0.30
Noise = Literal["junk", "swapped", "truncated"]

_FUNCTION_WORDS = frozenset(
    word
    for line in (
        "a an and are as at be by for from has have he her his in into is it its of off on onto",
        "or out over she some that the their them there they this to up was were while who with",
    )
    for word in line.split()
)


@dataclass(frozen=True, slots=True)
class Photo:
    """An image file with its human captions and the sha256 of its bytes."""

    path: Path
    captions: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class AltText:
    """A corpus image's noisy text and how it was made."""

    text: str
    noise: Noise


def read_photos(folder: Path) -> tuple[list[Photo], int]:
    """Captioned images of a folder in Flickr8k's layout, and the number of duplicates dropped."""
    table = folder / "captions.csv"
    if not table.is_file() or not (folder / "images").is_dir():
        raise SystemExit(f"{folder}: needs images/ and captions.csv with columns image,caption")
    captions: dict[str, list[str]] = {}
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            captions.setdefault(row["image"], []).append(tidy(row["caption"]))
    kept: dict[str, Photo] = {}
    for name in sorted(captions):
        path = folder / "images" / name
        if not path.is_file():
            raise SystemExit(f"{table}: names {name}, which is not in images/; remove its rows")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        kept.setdefault(digest, Photo(path, tuple(captions[name]), digest))
    return list(kept.values()), len(captions) - len(kept)


def tidy(caption: str) -> str:
    """A caption as a sentence: single spaces, none before punctuation, capital, full stop; pure.

    Flickr8k's are partly tokenised ("a dog runs ."); CIDEr-D sees no difference.
    """
    text = re.sub(r"\s+([.,;:!?'])", r"\1", " ".join(caption.split())).rstrip(" .,;:")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def split(
    photos: Sequence[Photo], sizes: Mapping[str, int], *, seed: int
) -> dict[str, list[Photo]]:
    """Disjoint splits of the given sizes, the rest in "corpus"; pure."""

    def rank(photo: Photo) -> str:
        return hashlib.sha256(f"{seed}:{photo.digest}".encode()).hexdigest()

    ordered = sorted(photos, key=rank)
    parts, start = {}, 0
    for name, size in sizes.items():
        parts[name] = ordered[start : start + size]
        start += size
    parts["corpus"] = ordered[start:]
    if len(parts["corpus"]) < 2:
        asked = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise SystemExit(
            f"{len(photos)} images are too few: {asked} "
            f"leave {len(parts['corpus'])} for the corpus; lower those sizes"
        )
    return parts


def content_words(caption: str, *, limit: int) -> str:
    """The first `limit` content words of a caption; pure."""
    words = [w for w in tokenise(caption) if w[0].isalpha() and w not in _FUNCTION_WORDS]
    return " ".join(words[:limit])


def junk(rng: random.Random) -> str:
    """A text that is unrelated to its image."""
    number = rng.randrange(10_000)
    return rng.choice(
        (f"IMG_{number:04d}.jpg", f"DSC{number:05d}", f"{number}.jpg", "photo", "image", "untitled")
    )


def alt_texts(photos: Sequence[Photo], *, seed: int) -> list[AltText]:
    """One noisy text per image, as described in the module's docstring; pure."""
    made = []
    for place, photo in enumerate(photos):
        rng = random.Random(f"{seed}:{photo.digest}")
        draw, limit = rng.random(), rng.randint(2, 5)
        if draw < JUNK_SHARE:
            made.append(AltText(junk(rng), "junk"))
            continue
        swapped = draw < JUNK_SHARE + SWAPPED_SHARE
        source = photos[(place + rng.randrange(1, len(photos))) % len(photos)] if swapped else photo
        words = content_words(rng.choice(source.captions), limit=limit)
        made.append(AltText(words or junk(rng), "swapped" if swapped else "truncated"))
    return made


def write_images(photos: Iterable[Photo], folder: Path) -> None:
    """Hard links into `folder`/images, or copies where the file system allows no link."""
    images = folder / "images"
    images.mkdir(parents=True)
    for photo in photos:
        target = images / photo.path.name
        try:
            os.link(photo.path, target)
        except OSError:
            shutil.copyfile(photo.path, target)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_conversations(photos: Iterable[Photo], folder: Path) -> None:
    """LLaVA rows, one per caption, so that a trainer can use another one at each visit."""
    rows = [
        {
            "id": f"{photo.path.stem}-{number}",
            "image": f"images/{photo.path.name}",
            "conversations": [
                {"from": "human", "value": f"<image>\n{QUESTION}"},
                {"from": "gpt", "value": caption},
            ],
        }
        for photo in photos
        for number, caption in enumerate(photo.captions)
    ]
    (folder / "conversations.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")


def write_items(photos: Iterable[Photo], folder: Path) -> None:
    """Benchmark lines, one per image, with all human captions as references."""
    lines = [
        json.dumps(
            {
                "id": photo.path.stem,
                "image": f"images/{photo.path.name}",
                "benchmark": "captioning",
                "kind": "caption",
                "question": QUESTION,
                "answers": list(photo.captions),
                "metric": "cider",
            }
        )
        for photo in photos
    ]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def summary(photos: Sequence[Photo], texts: Sequence[AltText]) -> str:
    """Statistics of the corpus's alt-text compared with the images' own captions."""
    references = {photo.digest: photo.captions for photo in photos}
    scores = cider_d(
        {photo.digest: text.text for photo, text in zip(photos, texts, strict=True)}, references
    ).per_item
    lines = [f"{'alt-text':10} {'share':>6} {'words':>6} {'shares a word':>14} {'CIDEr-D':>8}"]
    for noise in ("junk", "swapped", "truncated", "all"):
        chosen = [
            (photo, text.text)
            for photo, text in zip(photos, texts, strict=True)
            if noise in (text.noise, "all")
        ]
        if not chosen:
            continue
        words = sum(len(text.split()) for _, text in chosen) / len(chosen)
        shared = sum(_shares_a_word(text, photo) for photo, text in chosen) / len(chosen)
        cider = sum(scores[photo.digest] for photo, _ in chosen) / len(chosen)
        share = len(chosen) / len(photos)
        lines.append(f"{noise:10} {share:6.1%} {words:6.2f} {shared:14.1%} {cider:8.3f}")
    return "\n".join(lines)


def _shares_a_word(text: str, photo: Photo) -> bool:
    said = {word for caption in photo.captions for word in tokenise(caption)}
    return not said.isdisjoint(set(tokenise(text)) - _FUNCTION_WORDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, write the folders, print the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("photos", type=Path, help="folder with images/ and captions.csv")
    parser.add_argument("out", type=Path, help="folder to write; must be new or empty")
    parser.add_argument("--images", type=int, default=0, help="use at most this many (0: all)")
    parser.add_argument("--sft", type=int, default=1200)
    parser.add_argument("--dev", type=int, default=400)
    parser.add_argument("--test", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)

    if options.out.exists() and any(options.out.iterdir()):
        raise SystemExit(f"{options.out} is not empty: give a new folder")
    photos, duplicates = read_photos(options.photos)
    sizes = {"test": options.test, "dev": options.dev, "sft": options.sft}
    parts = split(photos, sizes, seed=options.seed)
    if options.images:
        parts["corpus"] = parts["corpus"][: max(0, options.images - sum(sizes.values()))]
        if len(parts["corpus"]) < 2:
            raise SystemExit(
                f"--images {options.images} leaves no corpus; lower --sft/--dev/--test"
            )
    texts = alt_texts(parts["corpus"], seed=options.seed)

    for name, chosen in parts.items():
        write_images(chosen, options.out / name)
    names = [photo.path.name for photo in parts["corpus"]]
    write_table(
        options.out / "corpus" / "captions.csv",
        ("image", "caption"),
        zip(names, (text.text for text in texts), strict=True),
    )
    write_table(
        options.out / "noise.csv",
        ("image", "noise"),
        zip(names, (text.noise for text in texts), strict=True),
    )
    write_table(
        options.out / "corpus_clean.csv",
        ("image", "caption"),
        ((photo.path.name, photo.captions[0]) for photo in parts["corpus"]),
    )
    write_conversations(parts["sft"], options.out / "sft")
    write_items(parts["dev"], options.out / "dev")
    write_items(parts["test"], options.out / "test")

    counts = Counter({name: len(chosen) for name, chosen in parts.items()})
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    print(f"exact duplicates left out: {duplicates}; seed {options.seed}")
    print(summary(parts["corpus"], texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
