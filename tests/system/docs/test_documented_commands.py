"""Every `vila2 ...` that documentation, recipes and messages name is one that can be typed."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from tests.support.paths import REPOSITORY
from vila2.cli.main import app

DOCS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted(REPOSITORY.glob("docs/**/*.md")),
    *sorted(REPOSITORY.glob("deploy/**/*.md")),
    *sorted(REPOSITORY.glob("vila2/recipes/*.yaml")),
]
SOURCES = [*REPOSITORY.glob("vila2/**/*.py"), *REPOSITORY.glob("services/**/*.py")]
COMMAND = typer.main.get_command(app)
SHELL = set(";|&><")


def problem_of(words: list[str], *, whole: bool) -> str:
    """What is wrong with the words after `vila2`; `whole`: nothing that is required may lack."""
    if words[:1] == ["X"]:
        return ""
    command: Any = COMMAND
    context = command.context_class(command, info_name="vila2")
    while True:
        try:
            given, rest, _ = command.make_parser(context).parse_args(list(words))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if not hasattr(command, "commands"):
            break
        if not rest:
            return ""
        name, *words = rest
        if name not in command.commands:
            return f"no command {name!r}"
        command = command.commands[name]
        context = command.context_class(command, parent=context, info_name=name)
    if rest:
        return f"too many arguments: {rest}"
    return _values(command, given, whole=whole)


def _values(command: Any, given: dict[str, Any], *, whole: bool) -> str:
    for parameter in command.params:
        value = given.get(parameter.name)
        known = get_args(parameter.type_descriptor.annotation)
        if isinstance(value, str) and known and value not in known and not value.isupper():
            return f"{value!r} is none of {known}"
        if whole and parameter.required and not isinstance(value, str | list | tuple):
            return f"{parameter.name} is missing"
    return ""


def blocks(text: str) -> Iterator[str]:
    """Commands of a shell in fenced blocks and in the comments of a recipe."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from re.findall(r"^(?:.*[;|&$] *)?(vila2 .*)$", block, re.MULTILINE)


def mentions(text: str) -> Iterator[str]:
    """Commands in running text."""
    for found in re.findall(r"(?<!`)`(vila2 [^`]+)`", text):
        yield re.sub(r"\s*\n\s*#?\s*", " ", found)


def strings(path: Path) -> Iterator[str]:
    """A module's texts; what is filled in later is a placeholder."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values
            )


def problems(line: str, *, whole: bool) -> Iterator[str]:
    """Of each command of a line, which may be several by `;` or `|`, or alternatives `a|b`."""
    bare = re.sub(r"\[(--[^]]*)\]", r"\1", line).replace("...", "X")
    lexer = shlex.shlex(bare, posix=True, punctuation_chars="".join(SHELL))
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word[0] not in SHELL:
            words.append(word)
        elif words[:1] == ["vila2"]:
            if wrong := problem_of(words[1:], whole=whole):
                yield f"{line}: {wrong}"
            # An alternative shares what stands before it.
            words = words[:-1] if word == "|" and not whole else []
        else:
            words = []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_commands_of_the_documentation_can_be_typed(path: Path) -> None:
    text = path.read_text()
    found = [wrong for line in blocks(text) for wrong in problems(line, whole=True)]
    found += [wrong for line in mentions(text) for wrong in problems(line, whole=False)]
    assert found == []


def test_commands_that_messages_name_can_be_typed() -> None:
    texts = [text for path in SOURCES for text in strings(path)]
    lines = [line for text in texts for line in mentions(text)]
    found = [wrong for line in lines for wrong in problems(line, whole=False)]
    assert found == []


@pytest.mark.parametrize(("line", "wrong"), [
    ("vila2 runs events RUN", "no command 'events'"),
    ("vila2 runs list --fast", "NoSuchOption"),
    ("vila2 runs cancel", "run is missing"),
    ("vila2 up --engine steam", "'steam' is none of"),
    ("vila2 datasets list; vila2 jobs logs A B", "too many arguments"),
])  # fmt: skip
def test_what_cannot_be_typed_is_noticed(line: str, wrong: str) -> None:
    assert any(wrong in problem for problem in problems(line, whole=True))
