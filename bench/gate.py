"""Measure what the caption gate rejects: captions of people, and planted ones that nobody writes.

    python bench/gate.py CAPTIONS [CAPTIONS ...] [--languages en,de,...] [--prompt TEXT ...]

CAPTIONS are files, or folders that are searched for them: a CSV with a column `caption` (Flickr8k's
layout) and perhaps `language`, a JSON file with `annotations[].caption` (COCO's), or a text file
of Tux Paint's stamps (English, then `de.utf8=...`). Captions of a language that the detector knows
are put to a gate that asks for it, the others to one that takes any; equal captions count once.

Prints two tables and writes bench/gate.json. Human captions: how many the gate rejects, and how
many each check rejects by itself; `prompt-leak` counts a caption that any of the prompts would
reject, and `length-truncated` is always 0, because people have no token limit. Planted captions:
the share that the gate rejects, by how they were made of human ones (words doubled, three words
four times over, one word three times, one letter, twelve words out of five, words shuffled, twelve
words drawn from all captions), and captions of other languages with 30 letters or more.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gate_captions import PLANTED, planted, read_captions
from rich.console import Console
from rich.table import Table

from services.caption.gate.gate import CHECKS, Candidate, GateLimits
from vila2.schemas.sampling import LANGUAGES, Gate

OUT = Path(__file__).with_name("gate.json")
# The four prompts of VILA² (arXiv:2407.17453), section 2.1.1.
PROMPTS = (
    "Describe the image briefly.",
    "Describe the image in details.",
    "Elaborate on the visual and narrative elements of the image in detail.",
    "Instead of describing the imaginary content, only describing the content one can determine "
    "confidently from the image. Do not describe the contents by itemizing them in list form. "
    "Minimize aesthetic descriptions as much as possible.",
)
OTHER_LANGUAGE = "other language"
_SENTENCE = 30


def failing(caption: str, prompts: Sequence[str], limits: GateLimits) -> Iterator[str]:
    """The checks that reject a caption, each by itself."""
    candidates = [Candidate(caption, prompt, "stop", limits) for prompt in prompts]
    for slug, fails in CHECKS.items():
        # Only one check reads the prompt.
        if any(map(fails, candidates if slug == "prompt-leak" else candidates[:1])):
            yield slug


def limits_of(language: str) -> GateLimits:
    """The limits of a default gate for captions of one language."""
    return GateLimits.of(Gate(language=language if language in LANGUAGES else "any"))


def human(captions: Sequence[str], language: str, prompts: Sequence[str]) -> dict[str, Any]:
    """How many captions are rejected, by check, with the first examples."""
    found: dict[str, list[str]] = {}
    rejected, limits = 0, limits_of(language)
    for caption in captions:
        slugs = list(failing(caption, prompts, limits))
        rejected += bool(slugs)
        for slug in slugs:
            found.setdefault(slug, []).append(caption)
    return {
        "language": language,
        "captions": len(captions),
        "rejected": rejected,
        "reasons": {slug: len(texts) for slug, texts in found.items()},
        "examples": {slug: texts[:5] for slug, texts in found.items()},
    }


def detection(captions: Mapping[str, Sequence[str]], language: str, count: int) -> dict[str, Any]:
    """Share of planted captions that are rejected, by kind; `None` where none could be made."""
    limits = limits_of(language)
    kinds: dict[str, Sequence[str]] = {
        name: planted(captions[language], name, count) for name in PLANTED
    }
    if limits.languages:
        kinds[OTHER_LANGUAGE] = _of_others(captions, language, count)
    return {"language": language} | {
        name: sum(any(failing(text, PROMPTS[:1], limits)) for text in texts) / len(texts)
        if texts
        else None
        for name, texts in kinds.items()
    }


def _of_others(captions: Mapping[str, Sequence[str]], language: str, count: int) -> list[str]:
    """Sentences of other languages that the detector knows, as many of each."""
    others = [code for code in captions if code in LANGUAGES and code != language]
    chance = random.Random(language)
    chosen: list[str] = []
    for code in others:
        long = [text for text in captions[code] if sum(map(str.isalpha, text)) >= _SENTENCE]
        chosen += chance.sample(long, min(-(-count // len(others)), len(long)))
    return chosen


def print_human(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The table of human captions; the last row sums the others up."""
    table = Table("language", "captions", "rejected", "share", "checks", title="human captions")
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row["reasons"])
    summed = {
        "language": "all",
        "captions": sum(row["captions"] for row in rows),
        "rejected": sum(row["rejected"] for row in rows),
        "reasons": {slug: reasons[slug] for slug in CHECKS if reasons[slug]},
    }
    for row in (*rows, summed):
        checks = ", ".join(f"{slug} {times}" for slug, times in row["reasons"].items())
        share = f"{row['rejected'] / row['captions']:.2%}"
        table.add_row(row["language"], str(row["captions"]), str(row["rejected"]), share, checks)
    console.print(table)


def print_detection(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """The table of planted captions."""
    kinds = (*PLANTED, OTHER_LANGUAGE)
    table = Table("language", *kinds, title="planted captions: share rejected")
    for row in rows:
        shares = [row.get(kind) for kind in kinds]
        table.add_row(row["language"], *("" if x is None else f"{x:.2f}" for x in shares))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables, and examples of what was rejected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("captions", type=Path, nargs="+", help="files or folders of captions")
    parser.add_argument("--language", default="en", help="of CSV and JSON files (default en)")
    parser.add_argument("--languages", help="only these, in this order; codes with commas between")
    parser.add_argument("--least", type=int, default=300, help="captions a language needs (300)")
    parser.add_argument("--planted", type=int, default=500, help="of each kind and language (500)")
    parser.add_argument("--prompt", action="append", help="a captioning prompt; repeatable")
    parser.add_argument("--examples", type=int, default=2, help="rejected captions shown per check")
    parser.add_argument("--json", type=Path, default=OUT, help=f"figures (default {OUT.name})")
    options = parser.parse_args(arguments)

    captions = read_captions(options.captions, options.language)
    enough = [code for code, texts in captions.items() if len(texts) >= options.least]
    languages = options.languages.split(",") if options.languages else enough
    if missing := [code for code in languages if code not in captions]:
        raise SystemExit(f"--languages: no captions in {', '.join(missing)}")
    people = [human(captions[each], each, options.prompt or PROMPTS) for each in languages]
    salads = [detection(captions, each, options.planted) for each in languages]
    # Without the examples: the captions are other people's.
    counts = [{name: row[name] for name in row if name != "examples"} for row in people]
    figures = {"human": counts, "planted": salads}
    options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    console = Console()
    print_human(console, people)
    print_detection(console, salads)
    for row in people:
        for slug, texts in row["examples"].items():
            for text in texts[: options.examples]:
                console.print(f"{row['language']} {slug}: {text[:100]}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
