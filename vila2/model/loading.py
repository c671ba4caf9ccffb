"""Strict loading of weights: complete or an error.

transformers initialises missing weights randomly and only prints a table.
Here a weight that is missing, of another shape, or not finite is an error that names the directory,
the file and the keys; so is a file that is damaged, absent, or a Git LFS pointer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

INDEX = "model.safetensors.index.json"
_LFS = b"version https://git-lfs"
# For every `from_pretrained` of a directory: nothing is fetched, and no code in it is run.
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
_NAMED = 3  # keys that a message names


class CheckpointError(ValueError):
    """A checkpoint that cannot be loaded whole; the message names directory, file and fix."""


def load_model(
    kind: Any, directory: Path, *, dtype: torch.dtype = torch.float32, **options: Any
) -> Any:
    """`kind.from_pretrained` of a local directory, with every weight accounted for.

    Only safetensors are read and no code that comes with a checkpoint is run. `options` go to
    `from_pretrained`. Raises `CheckpointError`.
    """
    check_files(directory)
    try:
        with quiet():
            model, report = kind.from_pretrained(
                directory,
                use_safetensors=True,
                output_loading_info=True,
                dtype=dtype,
                **LOCAL,
                **options,
            )
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{directory} cannot be loaded: {error}") from error
    check_report(report, f"{directory}", files=weight_files(directory))
    check_finite(model, f"{directory}")
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress transformers' output: its warnings about missing weights are errors here."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def check_report(report: dict[str, Any], where: str, *, files: list[str]) -> None:
    """Raise `CheckpointError` if transformers' loading report has a weight that was not loaded.

    Tied weights are stored once and are not reported as missing.
    """
    absent = sorted(map(str, report["missing_keys"]))
    if absent:
        stored = sorted(map(str, report["unexpected_keys"]))
        other = f" It has {_some(stored)} instead." if stored else ""
        raise CheckpointError(
            f"{where} ({', '.join(files)}) lacks {_some(absent)}.{other} Save the model again with "
            "`save_pretrained`, outside of wrappers such as torch.compile, DDP or PEFT that rename "
            "weights"
        )
    other_shape = sorted(str(key) for key in report["mismatched_keys"])
    if other_shape:
        raise CheckpointError(
            f"{where} ({', '.join(files)}) holds weights of another shape than its config.json "
            f"says: {_some(other_shape)}. Use the config.json that the weights were saved with"
        )


def check_finite(model: torch.nn.Module, where: str) -> None:
    """Raise `CheckpointError` if a weight holds NaN or infinity."""
    broken = [
        name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())
    ]
    if broken:
        raise CheckpointError(
            f"{where} holds weights that are not finite: {_some(broken)}. The training that wrote "
            "them diverged, or the file is damaged; use an earlier checkpoint"
        )


def weight_files(directory: Path) -> list[str]:
    """Names of the safetensors files of a checkpoint, by its index if it has one."""
    index = directory / INDEX
    if not index.is_file():
        return sorted(path.name for path in directory.glob("*.safetensors"))
    try:
        named = json.loads(index.read_text())["weight_map"].values()
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{index} is damaged ({error}); copy the file again") from error
    return sorted(set(map(str, named)))


def check_files(directory: Path) -> None:
    """Raise `CheckpointError` if a weight file is missing, truncated, or a Git LFS pointer."""
    from safetensors import SafetensorError, safe_open

    files = weight_files(directory)
    if not files:
        raise CheckpointError(
            f"{directory} holds no *.safetensors: give a directory that `save_pretrained` wrote "
            "(weights in other formats are not read)"
        )
    for name in files:
        path = directory / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing, but {INDEX} names it; copy it there")
        with path.open("rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise CheckpointError(
                    f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` there"
                )
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{path} is damaged or cut ({error}); copy it again and compare its digest"
            ) from error


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    more = len(names) - _NAMED
    return f"{len(names)} weights, such as {shown}" if more > 0 else shown
