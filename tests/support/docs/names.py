"""Environment variables and routes: those that the code has, and those that the pages name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TypeGuard

from fastapi import FastAPI
from pydantic_settings import BaseSettings

from tests.support.paths import REPOSITORY

VARIABLE = re.compile(r"VILA2_[A-Z0-9]+(?:_[A-Z0-9]+)*")
# `VILA2_SLURM_PARTITION`, `_ACCOUNT`: the second stands for VILA2_SLURM_ACCOUNT.
_SHORT = re.compile(r"(?<![A-Za-z0-9_$])(?:VILA2)?(?:_[A-Z0-9]+)+(?![A-Za-z0-9_])")
_ROUTE = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) +`?(?:[A-Z.$a-z/{}]*?)(/v1/[^\s`,;:)\"']+)")


def settings() -> set[str]:
    """Variables that a service reads through a class of settings."""
    return {
        f"{kind.model_config['env_prefix']}{name}".upper()
        for kind in settings_classes()
        for name in kind.model_fields
    }


def settings_classes() -> set[type[BaseSettings]]:
    """Every class of settings below services/."""
    sources = sorted((REPOSITORY / "services").rglob("*.py"))
    modules = (
        import_module(".".join(path.relative_to(REPOSITORY).with_suffix("").parts))
        for path in sources
        if "(BaseSettings)" in path.read_text()
    )
    return {kind for module in modules for kind in vars(module).values() if _is_settings(kind)}


def _is_settings(kind: object) -> TypeGuard[type[BaseSettings]]:
    return isinstance(kind, type) and issubclass(kind, BaseSettings) and kind is not BaseSettings


def used_in_python(folder: str) -> set[str]:
    """Variables that a module names to read or set them, not in a sentence."""
    texts = (
        node.value
        for path in (REPOSITORY / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {text for text in texts if VARIABLE.fullmatch(text)}


def used_in_deployment() -> set[str]:
    """Variables that a file of deploy/ or the compose file fills in."""
    paths = [REPOSITORY / "docker-compose.yml", *(REPOSITORY / "deploy").rglob("*")]
    texts = (path.read_text() for path in paths if path.is_file() and path.suffix != ".md")
    return {
        found for text in texts for found in re.findall(rf"\$\{{?({VARIABLE.pattern})", text)
    } | {found for text in texts for found in re.findall(rf"\{{\$({VARIABLE.pattern})", text)}


def variables_named(text: str) -> set[str]:
    """Variables in a page, also where it shortens the second of two."""
    named: set[str] = set()
    stem = ""
    for word in _SHORT.findall(text):
        if word.startswith("VILA2"):
            named.add(word)
            stem = word.rpartition("_")[0]
        elif stem:
            named |= {
                f"{stem[: end.start()]}{word}" for end in re.finditer(r"$|_(?=[A-Z0-9]+$)", stem)
            }
    return named


def routes(apps: Mapping[str, FastAPI]) -> set[tuple[str, str]]:
    """Method and path of every documented route."""
    return {
        (method.upper(), path)
        for app in apps.values()
        for path, held in app.openapi()["paths"].items()
        for method in held
    }


def routes_named(text: str) -> Iterator[tuple[str, str]]:
    """Method and path of each route that a page writes in full."""
    for method, path in _ROUTE.findall(text):
        if "..." not in path:
            yield method, path.partition("?")[0].rstrip(".")


def is_route(method: str, path: str, known: set[tuple[str, str]]) -> bool:
    """Whether one of the routes answers it; a name in the path stands for any parameter."""
    return any(method == held and fits(path, template) for held, template in known)


def fits(path: str, template: str) -> bool:
    """Whether a path that a page writes is one of a route's."""
    pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))
    return re.fullmatch(pattern, path) is not None


def text_of(paths: list[Path]) -> str:
    """All of them, as one text."""
    return "\n".join(path.read_text() for path in paths)


if __name__ == "__main__":
    # What a page sets in the environment has to be what the services take.
    for made in settings_classes():
        made()
