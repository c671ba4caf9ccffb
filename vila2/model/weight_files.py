"""A checkpoint's files without its model: is every weight there, whole and finite?

Needs only numpy, so that a service without torch can check uploads. The layout is that of
safetensors: eight bytes of length, a JSON header, the tensors (github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
_LFS = b"version https://git-lfs"
_LONGEST_HEADER = 100_000_000  # bytes, from the format's definition
_STEP = 16 * 1024 * 1024  # numbers checked at once
_NAMED = 3  # keys listed in a message
# How a number is stored, and the bits that are all set in NaN and infinity.
_FLOATS: Mapping[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000),
    "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),
}
_BYTES: Mapping[str, int] = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "F8_E5M2": 1, "F8_E4M3": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint is incomplete or damaged; the message names directory, file and fix."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Model type, number of weights and precision, read from a checkpoint's files."""

    family: str
    parameters: int
    bytes: int
    dtype: str  # of most parameters, as safetensors names it


def weight_files(directory: Path) -> list[str]:
    """Names of the safetensors files of a checkpoint, by its index if it has one."""
    index = directory / INDEX
    if not index.is_file():
        return sorted(path.name for path in directory.glob("*.safetensors"))
    return sorted(set(_weight_map(index).values()))


def check_files(directory: Path) -> None:
    """Raise `CheckpointError` if a weight file is missing, truncated, or a Git LFS pointer."""
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
        read_header(path)


def check_json(directory: Path, *needed: str) -> None:
    """Raise `CheckpointError` if a needed file is missing, or any JSON file is damaged.

    Libraries take a missing configuration for a default one.
    """
    for name in needed:
        if not (directory / name).is_file():
            raise CheckpointError(
                f"{directory / name} is missing; copy it there, or give a directory that "
                "`save_pretrained` wrote"
            )
    for path in sorted(directory.glob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _damaged(path, str(error)) from error


def examine(directory: Path) -> Checkpoint:
    """Check that every weight is present, complete and finite; return what was found.

    Raises `CheckpointError`. Reads all weights once.
    """
    check_files(directory)
    family = _family(directory)
    index = directory / INDEX
    expected = _weight_map(index) if index.is_file() else {}
    parameters: dict[str, int] = {}
    found: set[str] = set()
    size = 0
    for name in weight_files(directory):
        path = directory / name
        size += path.stat().st_size
        start, header = read_header(path)
        found |= set(header)
        _check_finite(path, start, header)
        for tensor in header.values():
            kind = str(tensor["dtype"])
            parameters[kind] = parameters.get(kind, 0) + math.prod(tensor["shape"])
    absent = sorted(set(expected) - found)
    if absent:
        raise CheckpointError(
            f"{directory} lacks {some(absent)}, which {INDEX} names; copy its files again"
        )
    dtype = max(parameters, key=lambda kind: parameters[kind]) if parameters else ""
    return Checkpoint(family, sum(parameters.values()), size, dtype)


def read_header(path: Path) -> tuple[int, dict[str, Any]]:
    """Offset of a file's tensors, and its tensors by name: `dtype`, `shape`, `data_offsets`.

    Raises `CheckpointError` if the file is damaged, truncated or a Git LFS pointer.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(len(_LFS))
        if head == _LFS:
            raise CheckpointError(
                f"{path} is a Git LFS pointer, not the weights; run `git lfs pull` there"
            )
        length = int.from_bytes(head[:8], "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise _damaged(path, f"it has {size:,} bytes and no header")
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            for name, tensor in header.items():
                _check_tensor(name, tensor, size - 8 - length)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, str(error)) from error
    held = sum(tensor["data_offsets"][1] - tensor["data_offsets"][0] for tensor in header.values())
    if held != size - 8 - length:
        raise _damaged(path, f"its tensors have {held:,} bytes, the file {size - 8 - length:,}")
    return 8 + length, header


def some(names: list[str]) -> str:
    """The number of weights and the first few names."""
    shown = ", ".join(names[:_NAMED])
    more = len(names) - _NAMED
    return f"{len(names)} weights, such as {shown}" if more > 0 else shown


def _check_tensor(name: str, tensor: Mapping[str, Any], room: int) -> None:
    start, end = tensor["data_offsets"]
    width = _BYTES.get(str(tensor["dtype"]))
    if not 0 <= start <= end <= room:
        raise ValueError(f"{name} ends at byte {end:,} of {room:,}: the file is cut")
    if width is not None and end - start != width * math.prod(tensor["shape"]):
        raise ValueError(f"{name} has {end - start:,} bytes for the shape {tensor['shape']}")


def _check_finite(path: Path, start: int, header: Mapping[str, Any]) -> None:
    broken = []
    raw = np.memmap(path, np.uint8, "r") if header else np.empty(0, np.uint8)
    for name, tensor in header.items():
        if str(tensor["dtype"]) not in _FLOATS:
            continue
        kind, bits = _FLOATS[str(tensor["dtype"])]
        first, end = (start + offset for offset in tensor["data_offsets"])
        if not all(_finite(part, bits) for part in _parts(raw[first:end], kind)):
            broken.append(name)
    if broken:
        raise CheckpointError(
            f"{path} holds weights that are not finite: {some(broken)}. The training that wrote "
            "them diverged, or the file is damaged; use an earlier checkpoint"
        )


def _parts(raw: np.ndarray, kind: str) -> Iterator[np.ndarray]:
    step = _STEP * np.dtype(kind).itemsize
    for start in range(0, len(raw), step):
        # A copy: a tensor may begin at any byte.
        yield np.frombuffer(raw[start : start + step].tobytes(), kind)


def _finite(values: np.ndarray, bits: int) -> bool:
    mask = values.dtype.type(bits)
    return not bool(((values & mask) == mask).any())


def _family(directory: Path) -> str:
    path = directory / CONFIG
    try:
        family = json.loads(path.read_text())["model_type"]
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{directory} holds no {CONFIG}: give a `save_pretrained` directory"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} names no model_type; copy the file again") from error
    return str(family)


def _weight_map(index: Path) -> dict[str, str]:
    try:
        named = json.loads(index.read_text())["weight_map"]
        return {str(key): _plain_name(str(file)) for key, file in named.items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is damaged ({error}); copy the file again") from error


def _plain_name(name: str) -> str:
    if Path(name).name != name or name.startswith("."):
        raise ValueError(f"{name!r} is not the name of a file beside it")
    return name


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged or cut ({why}); copy it again and compare its digest"
    )
