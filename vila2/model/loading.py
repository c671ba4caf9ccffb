"""Strict loading of weights: complete or an error.

transformers initialises missing weights randomly and only prints a table. Here a weight that is
missing, not finite or of another shape is an error that names the directory, the file and the keys.
So is a file that is damaged, absent, or a Git LFS pointer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vila2.model.weight_files import CheckpointError, check_files, some, weight_files

# For every `from_pretrained` of a directory: downloads nothing and runs no code from it.
LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


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
        other = f" It has {some(stored)} instead." if stored else ""
        raise CheckpointError(
            f"{where} ({', '.join(files)}) lacks {some(absent)}.{other} Save the model again with "
            "`save_pretrained`, outside of wrappers such as torch.compile, DDP or PEFT that rename "
            "weights"
        )
    other_shape = sorted(str(key) for key in report["mismatched_keys"])
    if other_shape:
        raise CheckpointError(
            f"{where} ({', '.join(files)}) holds weights of another shape than its config.json "
            f"says: {some(other_shape)}. Use the config.json that the weights were saved with"
        )


def check_finite(model: torch.nn.Module, where: str) -> None:
    """Raise `CheckpointError` if a weight holds NaN or infinity."""
    broken = [
        name for name, weight in model.named_parameters() if not bool(torch.isfinite(weight).all())
    ]
    if broken:
        raise CheckpointError(
            f"{where} holds weights that are not finite: {some(broken)}. The training that wrote "
            "them diverged, or the file is damaged; use an earlier checkpoint"
        )
