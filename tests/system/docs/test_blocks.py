"""Every fenced block of the pages is run, in order, or says in the page why it is not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.docs.blocks import (
    PAGES,
    RUN,
    SHOWN,
    Block,
    blocks_of,
    commands_and_output,
    difference,
    name_of,
    outcomes,
)
from tests.support.docs.counted import PROPERTY
from tests.support.docs.pages import Page, page_in, runbook_in
from tests.support.docs.prepared import Prepared, prepared
from tests.support.docs.yaml_blocks import check_yaml
from tests.support.scraped_platforms import configured
from tests.support.servers.prometheus import prometheus
from tests.support.waiting import until

TYPED = {"sh", "console", "python", "http"}
# What `make test` runs too; the other pages are part of `make test-full`.
FIRST = ("docs/command-line.md", "docs/rest.md")
TYPED_ON = [
    page
    for page in PAGES
    if any(block.language in TYPED and not block.reason for block in blocks_of(page))
]
WITH_TYPED = [page for page in TYPED_ON if page.parent.name != "runbooks"]
RUNBOOKS = [page for page in TYPED_ON if page.parent.name == "runbooks"]
DATA = [
    block
    for page in PAGES
    for block in blocks_of(page)
    if block.language in ("yaml", "json") and not block.reason
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    with prepared(tmp_path_factory.mktemp("documented")) as made:
        yield made


@pytest.fixture(scope="module")
def scraping(tmp_path_factory: pytest.TempPathFactory, platform: Prepared) -> Iterator[str]:
    """HOST:PORT of a Prometheus that scrapes it."""
    targets = tmp_path_factory.mktemp("scraping") / "targets.json"
    labels = {"job": "vila2-services"}
    targets.write_text(json.dumps([{"targets": [platform.address], "labels": labels}]))
    with prometheus(targets.parent / "prometheus", configured(targets)) as server:
        until(lambda: bool(server.query("vila2_database_up")), seconds=30)
        yield server.url.removeprefix("http://")


@pytest.mark.slow
@pytest.mark.parametrize("path", [pytest.param(
    page, id=name_of(page), marks=[] if name_of(page) in FIRST else pytest.mark.full,
) for page in WITH_TYPED])  # fmt: skip
def test_the_blocks_of_a_page_do_what_it_says(
    path: Path, platform: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_in(path, tmp_path, platform)
    monkeypatch.chdir(page.folder)
    run_blocks(page, path)
    assert page.unused() == []


@pytest.mark.full
@pytest.mark.server
@pytest.mark.parametrize("path", RUNBOOKS, ids=name_of)
def test_the_commands_of_a_runbook_look_at_a_platform(
    path: Path, platform: Prepared, scraping: str, tmp_path: Path
) -> None:
    """Its functions are those of the runbooks' first page."""
    page = runbook_in(tmp_path, platform, prometheus=scraping)
    for each in dict.fromkeys([RUNBOOKS[0].with_name("README.md"), path]):
        run_blocks(page, each)


def run_blocks(page: Page, path: Path) -> None:
    """In order, those that are typed; the first that does not do as it says ends the test."""
    for block in blocks_of(path):
        if block.language in TYPED and not block.reason:
            try:
                _run(block, page)
            except Exception as error:
                pytest.fail(f"{block.where}: {error}", pytrace=False)


def _run(block: Block, page: Page) -> None:
    text = page.filled(block.text)
    if block.language == "sh":
        page.shell.run(text)
        if re.search(r"^(export )?VILA2_\w+=", text, re.MULTILINE):
            page.shell.run(f"{sys.executable} -m tests.support.docs.names")
    elif block.language == "python":
        exec(compile(text, block.where, "exec"), page.namespace)
    elif block.language == "http":
        page.request(text)
    else:
        for typed, shown in commands_and_output(text):
            printed = page.shell.run(typed, fails=shown.startswith("error:"))
            wrong = difference(shown, printed)
            assert not wrong, f"{typed}\n{wrong}"


@pytest.mark.parametrize("block", DATA, ids=lambda block: block.where)
def test_files_in_the_pages_are_accepted_by_what_reads_them(block: Block, tmp_path: Path) -> None:
    if block.language == "yaml":
        check_yaml(block.text, tmp_path)
    else:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_has_a_language_that_says_what_it_is(path: Path) -> None:
    for block in blocks_of(path):
        assert block.language in (*RUN, *SHOWN), f"{block.where}: {block.language!r}"


def test_blocks_are_counted_by_what_becomes_of_them(
    record_property: Callable[[str, object], None],
) -> None:
    found = list(outcomes(PAGES))
    record_property(PROPERTY, found)
    assert sum(outcome.startswith("run: ") for outcome in found) > 50


@pytest.mark.parametrize(("shown", "printed", "same"), [
    ("a ... c", "a b c", True),
    ("run-7c9e6679 run-7c9e6679", "run-11111111 run-11111111", True),
    ("run-7c9e6679 run-7c9e6679", "run-11111111 run-22222222", False),
    ("x   1\n────", "x 1 \n──", True),
    ("x 1", "x 12", False),
])  # fmt: skip
def test_output_is_compared_with_what_a_page_shows(shown: str, printed: str, same: bool) -> None:
    assert (difference(shown, printed) == "") is same
