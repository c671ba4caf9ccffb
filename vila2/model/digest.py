"""A model folder's digest, by which the registry and downloads are checked; without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

_NAMED = ("config.json", "tokenizer.json")


def file_digest(path: Path) -> str:
    """sha256 of a file in hexadecimal, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """sha256 over weights, configuration and tokenizer in name order, as the trainer records it."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".safetensors" or path.name in _NAMED:
            digest.update(path.name.encode())
            digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest()
