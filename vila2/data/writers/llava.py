"""LLaVA's format: `conversations.json`, one row per line, and pictures in `images/`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from vila2.data.sample import Turn
from vila2.data.writers.captioned import Captioned

QUESTION = "Describe the image in detail."


def write_llava(samples: Iterable[Captioned], directory: Path) -> int:
    """Write one conversation per sample; returns their number.

    The assembled text answers `QUESTION`; the sample's own turns follow. The first question
    carries the `<image>` marker.
    """
    count = 0
    images = directory / "images"
    images.mkdir()
    with (directory / "conversations.json").open("w", encoding="utf-8") as out:
        out.write("[")
        for captioned in samples:
            (images / captioned.file_name).write_bytes(captioned.sample.image)
            row = {
                "id": captioned.sample.key,
                "image": captioned.file_name,
                "conversations": _messages(captioned),
                **captioned.provenance(),
            }
            out.write(",\n" if count else "\n")
            out.write(json.dumps(row, ensure_ascii=False))
            count += 1
        out.write("\n]\n")
    return count


def _messages(captioned: Captioned) -> list[dict[str, str]]:
    told = [Turn(QUESTION, captioned.text)] if captioned.text.strip() else []
    messages: list[dict[str, str]] = []
    for number, turn in enumerate((*told, *captioned.sample.turns)):
        marker = "" if number else "<image>\n"
        messages.append({"from": "human", "value": f"{marker}{turn.question}"})
        messages.append({"from": "gpt", "value": turn.answer})
    return messages
