"""Measure how many human captions each check of the caption gate rejects.

    python bench/gate.py CAPTIONS [CAPTIONS ...] [--prompt TEXT ...] [--examples 3]

CAPTIONS is a CSV with a column `caption` (Flickr8k's layout) or a JSON file with
`annotations[].caption` (COCO's layout). Every check is applied by itself, so one caption may count
under several; the last row is the whole gate. `prompt-leak` counts a caption that any of the
prompts would reject. Human captions have no token limit, so `length-truncated` is always 0 here.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.caption.gate.gate import CHECKS, Candidate, GateLimits
from vila2.schemas.sampling import Gate

# The four prompts of VILA² (arXiv:2407.17453), section 2.1.1.
PROMPTS = (
    "Describe the image briefly.",
    "Describe the image in details.",
    "Elaborate on the visual and narrative elements of the image in detail.",
    "Instead of describing the imaginary content, only describing the content one can determine "
    "confidently from the image. Do not describe the contents by itemizing them in list form. "
    "Minimize aesthetic descriptions as much as possible.",
)


def read_captions(path: Path) -> list[str]:
    """All captions of a CSV or COCO file; exits with a message if there are none."""
    try:
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            found = [str(row["caption"]) for row in content["annotations"]]
        else:
            with path.open(newline="", encoding="utf-8") as file:
                found = [row["caption"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{path}: no captions to read ({error!r}); see --help") from error
    if not found:
        raise SystemExit(f"{path}: holds no captions")
    return found


def rejected(
    captions: Sequence[str], prompts: Sequence[str], limits: GateLimits
) -> dict[str, list[str]]:
    """Map each check, applied by itself, to the captions it rejects; "any" is the whole gate."""
    found: dict[str, list[str]] = {slug: [] for slug in (*CHECKS, "any")}
    for caption in captions:
        failing = set(_failing(caption, prompts, limits))
        for slug in failing | ({"any"} if failing else set()):
            found[slug].append(caption)
    return found


def _failing(caption: str, prompts: Sequence[str], limits: GateLimits) -> Iterator[str]:
    candidates = [Candidate(caption, prompt, "stop", limits) for prompt in prompts]
    for slug, fails in CHECKS.items():
        # Only one check reads the prompt.
        if any(map(fails, candidates if slug == "prompt-leak" else candidates[:1])):
            yield slug


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one table per file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("captions", type=Path, nargs="+", help="CSV or COCO JSON of captions")
    parser.add_argument("--prompt", action="append", help="a captioning prompt; repeatable")
    parser.add_argument("--examples", type=int, default=3, help="rejected captions shown per check")
    options = parser.parse_args(arguments)

    gate = Gate()
    limits = GateLimits(gate.min_words, gate.max_words, gate.max_repeats)
    for path in options.captions:
        captions = read_captions(path)
        found = rejected(captions, options.prompt or PROMPTS, limits)
        print(f"{path.name}: {len(captions)} captions")
        print(f"{'check':18} {'rejected':>8} {'share':>9}  examples")
        for slug, texts in found.items():
            shown = " | ".join(repr(text[:90]) for text in texts[: options.examples])
            share = len(texts) / len(captions)
            print(f"{slug:18} {len(texts):8} {share:9.4%}  {'' if slug == 'any' else shown}")
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
