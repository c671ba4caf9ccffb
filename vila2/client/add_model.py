"""Adding a model: find its files, upload them in pieces, wait until it has answered.

An interrupted upload resumes with the missing pieces. Files from a hub are downloaded by this
process, with its own login, so that no token ever reaches a service.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from vila2.client.client import Client
from vila2.data.errors import DataError
from vila2.model.digest import file_digest
from vila2.schemas.endpoint_model import EndpointModel
from vila2.schemas.rest.model_imports import (
    PIECE_BYTES,
    SUFFIXES,
    WEIGHTS,
    ModelImport,
    ModelIn,
    Origin,
    WeightFile,
)

Report = Callable[[str, int, int | None], None]  # phase, bytes done, total bytes
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")


class ModelRefused(Exception):
    """The platform did not register the model; the message says why."""


def add_directory(
    client: Client,
    path: Path,
    *,
    name: str,
    origin: Origin | None = None,
    report: Report = lambda *_: None,
) -> ModelImport:
    """Upload a `save_pretrained` directory and register it.

    Raises `DataError` if the directory holds no model, `ModelRefused` if it does not pass.
    """
    paths = files_of(path)
    origin = origin or Origin(kind="directory", name=str(path.resolve()), licence=_licence(path))
    total, done = sum(file.stat().st_size for file in paths), 0
    files = []
    for file in paths:
        report("reading", done, total)
        size = file.stat().st_size
        files.append(WeightFile(name=file.name, bytes=size, sha256=file_digest(file)))
        done += size
    made = client.training.add_model(ModelIn(name=name, files=files, origin=origin))
    if made.state == "uploading":
        _send(client, made, path, total, report)
        made = client.training.finish_model_import(made.id)
    return _ended(client, made, report)


def add_endpoint(
    client: Client, endpoint: EndpointModel, *, name: str, report: Report = lambda *_: None
) -> ModelImport:
    """Register a model that an OpenAI-compatible endpoint serves; raises `ModelRefused`."""
    made = client.training.add_model(ModelIn(name=name, endpoint=endpoint))
    return _ended(client, made, report)


def add_objects(
    client: Client, address: str, *, name: str, report: Report = lambda *_: None
) -> ModelImport:
    """Register the weights at s3://SOURCE/PREFIX; raises `ModelRefused`."""
    return _ended(client, client.training.add_model(ModelIn(name=name, objects=address)), report)


def add_from_hub(
    client: Client,
    repository: str,
    *,
    name: str,
    revision: str = "",
    report: Report = lambda *_: None,
) -> ModelImport:
    """Download a repository of the Hugging Face hub at a pinned revision, and register it.

    Raises `DataError` with the fix if the hub cannot be reached, `ModelRefused` if the model does
    not pass.
    """
    report(f"fetching {repository}", 0, None)
    folder, origin = fetch_from_hub(repository, revision)
    return add_directory(client, folder, name=name, origin=origin, report=report)


def fetch_from_hub(repository: str, revision: str = "") -> tuple[Path, Origin]:
    """Path of a repository's weights, configuration, tokenizer and processor in the hub's cache."""
    try:
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    except ImportError as error:
        raise DataError(
            "the Hugging Face hub's client is not installed",
            fix="Install it (pip install 'vila2[train]'), or give a directory",
        ) from error
    try:
        about = HfApi().model_info(repository, revision=revision or None)
        folder = snapshot_download(
            repository, revision=about.sha, allow_patterns=[f"*{suffix}" for suffix in SUFFIXES]
        )
    except HfHubHTTPError as error:
        told = str(error).strip().splitlines()
        raise DataError(
            f"the hub does not give {repository}: {told[0] if told else type(error).__name__}",
            fix="Check the name; for a gated model, accept its terms and log in with `hf auth "
            "login`",
        ) from error
    except (OfflineModeIsEnabled, httpx2.HTTPError, OSError, ValueError) as error:
        raise DataError(
            f"the hub cannot be reached for {repository} ({error})",
            fix=f"On a machine with a network, run `hf download {repository} --local-dir DIR`, "
            "copy DIR here, and add the directory",
        ) from error
    licence = str(getattr(about.card_data, "license", None) or "")
    return Path(folder), Origin(
        kind="hub", name=repository, revision=str(about.sha), licence=licence
    )


def files_of(path: Path) -> list[Path]:
    """The files of a model's directory to upload; raises `DataError` if it holds no model."""
    if not path.is_dir():
        raise DataError(
            f"{path} is no directory", fix="Give a `save_pretrained` directory, or a hub id"
        )
    there = sorted(file for file in path.iterdir() if file.is_file())
    chosen = [file for file in there if file.name.endswith(SUFFIXES)]
    if not any(file.name == "config.json" for file in chosen):
        raise DataError(
            f"{path} holds no config.json", fix="Give a directory that `save_pretrained` wrote"
        )
    if not any(file.name.endswith(WEIGHTS) for file in chosen):
        pickles = [file.name for file in there if file.name.endswith(_PICKLES)]
        if pickles:
            raise DataError(
                f"{path} holds weights only as {', '.join(pickles[:3])}, which can run code when "
                "they are read",
                fix="Save the model as safetensors (`model.save_pretrained(DIR)`) and give DIR",
            )
        raise DataError(f"{path} holds no weights (*{WEIGHTS})", fix="Copy them there")
    return chosen


def _licence(path: Path) -> str:
    """The licence in the header of a README.md, or empty."""
    import yaml

    card = path / "README.md"
    if not card.is_file():
        return ""
    head = card.read_text(errors="replace").split("---")
    try:
        about: Any = yaml.safe_load(head[1]) if len(head) > 2 and not head[0].strip() else {}
    except yaml.YAMLError:
        return ""
    return str(about.get("license", ""))[:200] if isinstance(about, dict) else ""


def _send(client: Client, made: ModelImport, path: Path, total: int, report: Report) -> None:
    missing = sum(len(file.pieces) for file in made.missing) * PIECE_BYTES
    done = max(0, total - missing)
    for file in made.missing:
        for number, data in _pieces(path / file.name, file.pieces):
            report("sending", done, total)
            client.training.put_model_piece(made.id, file.name, number, data)
            done += len(data)
    report("sending", total, total)


def _pieces(path: Path, numbers: list[int]) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        for number in numbers:
            file.seek(number * PIECE_BYTES, os.SEEK_SET)
            yield number, file.read(PIECE_BYTES)


def _ended(
    client: Client, made: ModelImport, report: Report, *, poll_seconds: float = 0.3
) -> ModelImport:
    while made.state in ("waiting", "working"):
        report(made.phase or "waiting", 0, None)
        time.sleep(poll_seconds)
        made = client.training.model_import(made.id)
    if made.state == "failed":
        raise ModelRefused(f"{made.name} was not added: {made.error}")
    return made


def suggested_name(source: str) -> str:
    """A short name made from the last part of a hub id, a path or an endpoint's model."""
    last = source.rstrip("/").rpartition("/")[2].lower()
    name = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in last)
    return name.strip("._-")[:60] or "model"
