"""LLaVA's format: `conversations.json`, one row per line, and images in `images/`.

Provenance is written to `provenance.jsonl`, so that the rows have only the fields that other tools
expect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vila2.data.sample import Turn
from vila2.data.writers.captioned import PROVENANCE, Captioned

QUESTION = "Describe the image in detail."


def write_llava(samples: Iterable[Captioned], directory: Path) -> int:
    """Write one conversation per sample; returns their number.

    The assembled text answers `QUESTION`; the sample's own turns follow. The first question
    carries the `<image>` marker. `id` is the one that the sample's source gave it, else its key.
    """
    count = 0
    images = directory / "images"
    images.mkdir()
    with (
        (directory / "conversations.json").open("w", encoding="utf-8") as out,
        (directory / PROVENANCE).open("w", encoding="utf-8") as records,
    ):
        out.write("[")
        for captioned in samples:
            (images / captioned.file_name).write_bytes(captioned.sample.image)
            row = {
                "id": captioned.sample.source_id,
                "image": captioned.file_name,
                "conversations": _messages(captioned),
            }
            out.write(",\n" if count else "\n")
            out.write(json.dumps(row, ensure_ascii=False))
            records.write(captioned.record() + "\n")
            count += 1
        out.write("\n]\n")
    return count


def _messages(captioned: Captioned) -> list[dict[str, str]]:
    """The assembled text as the answer to `QUESTION`, then the sample's own turns."""
    told = [Turn(QUESTION, captioned.text)] if captioned.text.strip() else []
    messages: list[dict[str, str]] = []
    for number, turn in enumerate((*told, *captioned.sample.turns)):
        marker = "" if number else "<image>\n"
        messages.append({"from": "human", "value": f"{marker}{turn.question}"})
        messages.append({"from": "gpt", "value": turn.answer})
    return messages
