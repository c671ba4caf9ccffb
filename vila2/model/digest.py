"""A model folder's digest, used to verify the registry and downloads; does not need torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from vila2.schemas.endpoint_model import ENDPOINT_FILE

_NAMED = ("config.json", "tokenizer.json", ENDPOINT_FILE)


def file_digest(path: Path) -> str:
    """sha256 of a file in hexadecimal, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """The digest of a folder's files: see `digest_of`."""
    named = (path for path in folder.iterdir() if _counts(path.name))
    return digest_of({path.name: file_digest(path) for path in named})


def digest_of(files: Mapping[str, str]) -> str:
    """sha256 over weights, configuration and tokenizer in name order, as the trainer records it.

    `files` maps names to the sha256 of each file; other files are ignored.
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        if _counts(name):
            digest.update(name.encode())
            digest.update(bytes.fromhex(files[name]))
    return digest.hexdigest()


def _counts(name: str) -> bool:
    return name.endswith(".safetensors") or name in _NAMED
