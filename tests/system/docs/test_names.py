"""Variables and routes: the pages name none that the code does not have, and most that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.docs.blocks import PAGES, name_of
from tests.support.docs.counted import PROPERTY
from tests.support.docs.names import (
    VARIABLE,
    fits,
    is_route,
    routes,
    routes_named,
    settings,
    text_of,
    used_in_deployment,
    used_in_python,
    variables_named,
)
from tests.support.paths import REPOSITORY
from tests.system.docs.test_documented_commands import SOURCES, strings

OURS = settings() | used_in_python("vila2") | used_in_python("services")
KNOWN = OURS | used_in_deployment() | used_in_python("tests")
EVERY_PAGE = [*PAGES, REPOSITORY / "CONTRIBUTING.md"]
# What no user sets.
INTERNAL = {"VILA2_CRASHPOINT"}


@pytest.fixture(scope="module")
def known_routes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[set[tuple[str, str]]]:
    with EmbeddedPlatform(tmp_path_factory.mktemp("routes")) as platform:
        yield routes(platform.apps)


@pytest.mark.parametrize("path", EVERY_PAGE, ids=name_of)
def test_variables_of_a_page_are_read_by_something(path: Path) -> None:
    named = {name for name in VARIABLE.findall(path.read_text()) if name != "VILA2_S3"}
    assert named - KNOWN == set()


def test_variables_that_messages_name_are_read_by_something() -> None:
    texts = (text for path in SOURCES for text in strings(path))
    named = {name for text in texts for name in VARIABLE.findall(text)}
    filled_in = {"VILA2_X", "VILA2_MAX_X_BYTES", "VILA2_MAX_X_VALUES"}
    beginnings = {name for name in named if any(known.startswith(f"{name}_") for known in KNOWN)}
    assert named - KNOWN - filled_in - beginnings == set()


def test_every_variable_of_ours_is_on_some_page() -> None:
    assert OURS - variables_named(text_of(EVERY_PAGE)) - INTERNAL == set()


@pytest.mark.parametrize("path", EVERY_PAGE, ids=name_of)
def test_routes_of_a_page_exist(path: Path, known_routes: set[tuple[str, str]]) -> None:
    named = routes_named(path.read_text())
    assert [one for one in named if not is_route(*one, known_routes)] == []


def test_routes_that_no_page_names_are_listed(
    known_routes: set[tuple[str, str]], record_property: Callable[[str, object], None]
) -> None:
    """`pytest -rP` shows them: they are in the OpenAPI documents, which is enough."""
    named = list(routes_named(text_of(EVERY_PAGE)))
    unnamed = sorted(
        f"{method} {path}"
        for method, path in known_routes
        if not any(method == verb and fits(said, path) for verb, said in named)
    )
    print("\n".join(unnamed))  # noqa: T201
    record_property(PROPERTY, ["routes that no page names (-rP lists them)"] * len(unnamed))
    assert len(unnamed) < len(known_routes)


@pytest.mark.parametrize(("text", "names"), [
    ("`VILA2_KUBERNETES_URL`, `_TOKEN_FILE`", "VILA2_KUBERNETES_TOKEN_FILE"),
    ("`VILA2_SLURM_PARTITION`, `_QOS`", "VILA2_SLURM_QOS"),
])  # fmt: skip
def test_a_shortened_variable_is_understood(text: str, names: str) -> None:
    assert names in variables_named(text)
