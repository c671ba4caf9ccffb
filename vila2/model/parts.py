"""The three parts of a vision-language model, found by their usual names and checked.

Training freezes by part, and a new round resets the projector, so a wrong part would silently ruin
a run. The parts must be three modules that share no parameters and together hold all parameters
except the output layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

PARTS = ("vision", "projector", "language")

# Their names in transformers 5.23, most common first.
NAMES: dict[str, tuple[str, ...]] = {
    "vision": ("vision_tower", "vision_model", "visual", "vision_encoder", "vision_backbone"),
    "projector": (
        "multi_modal_projector", "connector", "projector", "mm_projector", "vision_projection",
        "aligner", "embed_vision",
    ),
    "language": ("language_model", "text_model", "llm", "language_backbone"),
}  # fmt: skip


class PartsError(ValueError):
    """The parts of a model are ambiguous; the message lists its modules and what to name."""


def find_parts(model: nn.Module, named: Mapping[str, str] | None = None) -> dict[str, str]:
    """Module names of vision, projector and language, as `model.get_submodule` takes them.

    `named` overrides what is found, part by part. Raises `PartsError` unless each exists and is
    not empty, no two share a parameter, and together they hold all but the output layer.
    """
    named = dict(named or {})
    if unknown := set(named) - set(PARTS):
        raise PartsError(f"unknown part {sorted(unknown)[0]!r}: a model has {', '.join(PARTS)}")
    found: dict[str, str] = {}
    for part in PARTS:
        name = named.get(part) or _find(model, NAMES[part])
        if name is None:
            raise PartsError(
                f"no {part} part: none of {', '.join(NAMES[part])} is in this "
                f"{type(model).__name__}. {_what_to_name(model, part)}"
            )
        if not _has(model, name):
            raise PartsError(
                f"the {part} part {name!r} is not in this {type(model).__name__}. "
                f"{_what_to_name(model, part)}"
            )
        found[part] = name
    _check(model, found)
    return found


def output_parameters(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """Named parameters of the output layer that are not the input embedding's."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None:
        tied = {id(parameter) for parameter in embedding.parameters()}
        for name, parameter in head.named_parameters(prefix="lm_head"):
            if id(parameter) not in tied:
                yield name, parameter


def _find(model: nn.Module, names: tuple[str, ...]) -> str | None:
    """The topmost module with one of these names, at most two levels down."""
    children = dict(model.named_children())
    for prefix in ("", *(f"{name}." for name in children)):
        for name in names:
            if _has(model, prefix + name):
                return prefix + name
    return None


def _has(model: nn.Module, name: str) -> bool:
    # Not `get_submodule`, which also follows properties that alias another module.
    return any(name == held for held, _ in model.named_modules())


def _check(model: Any, found: Mapping[str, str]) -> None:
    owner: dict[int, str] = {}
    for part, name in found.items():
        parameters = list(model.get_submodule(name).parameters())
        if not parameters:
            raise PartsError(f"the {part} part {name!r} is empty. {_what_to_name(model, part)}")
        for parameter in parameters:
            other = owner.setdefault(id(parameter), part)
            if other != part:
                raise PartsError(
                    f"the {part} part {name!r} shares parameters with the {other} part "
                    f"{found[other]!r}: the parts must be apart. {_what_to_name(model, part)}"
                )
    owner |= {id(parameter): "language" for _, parameter in output_parameters(model)}
    rest = [name for name, parameter in model.named_parameters() if id(parameter) not in owner]
    if rest:
        raise PartsError(
            f"{len(rest)} parameters belong to no part, such as {rest[0]!r}; the parts are "
            f"{', '.join(f'{part} {name!r}' for part, name in found.items())}. "
            f"{_what_to_name(model, 'projector')}"
        )


def _what_to_name(model: nn.Module, part: str) -> str:
    """Hint for an error message: the modules two levels down, and how to name one."""
    children = []
    for name, child in model.named_children():
        below = [f"{name}.{under}" for under, _ in child.named_children()]
        children += below if below and len(below) < 20 else [name]
    return (
        f"It is made of {', '.join(children)}. Name the right one: `parts: {{{part}: NAME}}` "
        "under `model` in a preset"
    )
