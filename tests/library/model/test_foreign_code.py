"""Code that comes with a model is never run, wherever a model or a part of it is opened."""

from __future__ import annotations

import ast
import inspect

from tests.support.paths import REPOSITORY
from vila2.model.loading import LOCAL
from vila2.model.pretrained_parts import _where

# What a call may hand on; each says that foreign code is not trusted, without asking anybody.
_SAFE = {"LOCAL", "_where(part)"}


def test_every_call_that_opens_a_model_refuses_its_code() -> None:
    """Without it, transformers asks on the terminal and runs the code if somebody answers `y`."""
    calls = [
        (file.relative_to(REPOSITORY), call.lineno, call)
        for package in ("vila2", "services", "bench")
        for file in sorted((REPOSITORY / package).rglob("*.py"))
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("from_pretrained", "from_config")
    ]
    assert len(calls) > 8
    unsafe = [f"{file}:{line}" for file, line, call in calls if not _refuses(call)]
    assert unsafe == []


def test_what_these_calls_hand_on_says_so() -> None:
    assert LOCAL["trust_remote_code"] is False
    assert "'trust_remote_code': False" in ast.unparse(ast.parse(inspect.getsource(_where)))


def _refuses(call: ast.Call) -> bool:
    spread = {ast.unparse(held.value) for held in call.keywords if held.arg is None}
    said = any(
        held.arg == "trust_remote_code" and ast.unparse(held.value) == "False"
        for held in call.keywords
    )
    return said or bool(spread & _SAFE)
