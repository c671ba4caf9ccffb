"""Opens the parts of a processor, with stand-ins for those that images do not need."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vila2.model.loading import LOCAL

# Files that may name the processor's class, in the order in which transformers reads them.
_NAMING = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
_NEEDED = ("image_processor", "tokenizer")
# Packages that some processors require on construction, although only videos need them.
_OF_VIDEOS = ("num2words",)
_CANNOT_OPEN = (ImportError, OSError, ValueError, TypeError, KeyError, AttributeError)


class ProcessorError(ValueError):
    """A processor that cannot be opened or used; the message names directory, part and fix."""


class Missing:
    """Stands in for a missing part or package; raises `ProcessorError` if called."""

    model_input_names: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.missing = name

    def __getattr__(self, name: str) -> None:
        """None for any attribute: SmolVLM reads the number of frames even for images."""
        if name.startswith("_"):
            raise AttributeError(f"{self.missing} is absent and has no {name}")

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise `ProcessorError`."""
        raise ProcessorError(
            f"this processor was opened without {self.missing}, which images do not need; install "
            "the packages it needs (torchvision, num2words) for videos or sound"
        )


def open_parts(directory: Path) -> Any:
    """A directory's processor from transformers, with stand-ins for parts that lack a package.

    The image processor and the tokenizer never have stand-ins. Raises `ProcessorError`.
    """
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(directory, **LOCAL)
    except _CANNOT_OPEN as error:
        if not _lacks_package(error):
            raise _refused(directory, "its processor", error) from error
    kind = _processor_class(directory)
    _stand_in_for_packages(kind)
    try:
        return kind.from_pretrained(directory, **LOCAL)
    except _CANNOT_OPEN as error:
        if not _lacks_package(error):
            raise _refused(directory, f"its {kind.__name__}", error) from error
    parts = [_part(directory, name) for name in kind.get_attributes()]
    try:
        described, _ = kind.get_processor_dict(directory, **LOCAL)
        return _lenient(kind).from_args_and_dict(parts, described)
    except _CANNOT_OPEN as error:
        raise _refused(directory, f"its {kind.__name__}", error) from error


def absent_parts(processor: Any) -> tuple[str, ...]:
    """Names of the parts and packages that were replaced by a stand-in."""
    found = [getattr(processor, name, None) for name in processor.get_attributes()]
    module = sys.modules[type(processor).__module__]
    found += [getattr(module, package, None) for package in _OF_VIDEOS]
    return tuple(part.missing for part in found if isinstance(part, Missing))


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """A JSON object in a file of a directory; empty if there is no such file."""
    path = directory / name
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProcessorError(f"{path} is damaged ({error}); copy the file again") from error
    if not isinstance(content, dict):
        raise ProcessorError(f"{path} is damaged (no JSON object); copy the file again")
    return content


def _lacks_package(error: Exception) -> bool:
    # transformers reports a video processor without torchvision as a ValueError.
    return isinstance(error, ImportError) or "torchvision" in str(error)


def _refused(directory: Path, what: str, error: Exception) -> ProcessorError:
    fix = (
        "install the package that it names"
        if _lacks_package(error)
        else "copy the processor's files again from the model's repository"
    )
    return ProcessorError(f"{directory}: {what} cannot be opened: {str(error).strip()} ({fix})")


def _processor_class(directory: Path) -> Any:
    """The class that the directory's files name, or transformers' class for the model type."""
    import transformers
    from transformers.models.auto.processing_auto import (  # type: ignore[attr-defined]
        PROCESSOR_MAPPING_NAMES,
    )

    named = [read_json(directory, name).get("processor_class") for name in _NAMING]
    model_type = read_json(directory, "config.json").get("model_type")
    named.append(PROCESSOR_MAPPING_NAMES.get(str(model_type)))
    name = next((name for name in named if name), None)
    kind: Any = getattr(transformers, str(name), None)
    if kind is None:
        raise ProcessorError(
            f"{directory}: transformers {transformers.__version__} has no processor {name!r}; "
            'correct "processor_class" in processor_config.json'
        )
    if not getattr(kind, "is_dummy", False):
        return kind
    # transformers has a placeholder class here: PixtralProcessor claims to need torchvision. It
    # takes only one function from the module of the torchvision image processor, and the PIL module
    # has it too.
    with _pil_instead(kind.__module__):
        return getattr(importlib.import_module(kind.__module__), kind.__name__)


@contextmanager
def _pil_instead(module: str) -> Iterator[None]:
    """Let `processing_x` import from `image_processing_pil_x` for `image_processing_x`."""
    package, _, name = module.rpartition(".")
    family = name.removeprefix("processing_")
    wanted = f"{package}.image_processing_{family}"
    sys.modules[wanted] = importlib.import_module(f"{package}.image_processing_pil_{family}")
    try:
        yield
    finally:
        del sys.modules[wanted]


def _stand_in_for_packages(kind: Any) -> None:
    """Allow SmolVLMProcessor without num2words, which it needs only to number frames."""
    module = sys.modules[kind.__module__]
    for package in _OF_VIDEOS:
        if getattr(module, package, "not used") is None:
            setattr(module, package, Missing(package))


def _part(directory: Path, name: str) -> Any:
    """One part of a processor, or a stand-in if it is for videos or audio and lacks a package."""
    from transformers import processing_utils

    modality = processing_utils._get_modality_for_attribute(name)
    kind = processing_utils.MODALITY_TO_AUTOPROCESSOR_MAPPING[modality]
    try:
        return kind.from_pretrained(directory, **LOCAL)
    except _CANNOT_OPEN as error:
        if modality in _NEEDED or not _lacks_package(error):
            raise _refused(directory, f"its {name}", error) from error
    return Missing(name)


def _lenient(kind: Any) -> Any:
    """The class, changed to accept stand-ins: the type check of its parts would refuse them."""

    def check(self: Any, name: str, part: Any) -> Any:
        if isinstance(part, Missing):
            return Missing
        return kind.check_argument_for_proper_class(self, name, part)

    def to_dict(self: Any) -> dict[str, Any]:  # transformers logs it, as JSON
        described: dict[str, Any] = kind.to_dict(self)
        return {name: part for name, part in described.items() if not isinstance(part, Missing)}

    changes = {
        "check_argument_for_proper_class": check,
        "to_dict": to_dict,
        "__module__": kind.__module__,
    }
    return type(kind.__name__, (kind,), changes)
