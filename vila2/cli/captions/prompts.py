"""Prompts of the command line: given as options, or in a YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vila2.cli.connection.workspace import CliError

DEFAULT_PROMPT = "Describe the image in detail."


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts, one of which is used for each image, and a system message."""

    prompts: list[str]
    system: str = ""


def read_prompts(typed: list[str], file: Path | None, system: str) -> Prompts:
    """Prompts given as options and those of a file: a YAML list, or `prompts:` and `system:`.

    Raises `CliError` if the file has another structure.
    """
    if file is None:
        return Prompts(typed or [DEFAULT_PROMPT], system)
    try:
        held: Any = yaml.safe_load(file.read_text())
    except yaml.YAMLError as error:
        raise CliError(f"--prompts {file} is not YAML: {error}") from error
    if isinstance(held, str):
        held = [held]
    if isinstance(held, list):
        held = {"prompts": held}
    known = isinstance(held, dict) and set(held) <= {"prompts", "system"}
    listed = held.get("prompts") if known else None
    if not isinstance(listed, list) or not listed or not all(_is_text(each) for each in listed):
        raise CliError(
            f"--prompts {file}: write a list of prompts, or `prompts:` with a list and `system:` "
            "with a text"
        )
    given = held.get("system") or ""
    if not isinstance(given, str):
        raise CliError(f"--prompts {file}: `system` is not a text")
    return Prompts([*typed, *(each.strip() for each in listed)], system or given.strip())


def _is_text(each: Any) -> bool:
    return isinstance(each, str) and bool(each.strip())
