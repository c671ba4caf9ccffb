"""Lists in pages: whatever was there when a walk began is met exactly once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.storage.database import Database
from services.chassis.web.errors import Invalid
from services.chassis.web.paging import Key, Page
from services.platform.embedded import EmbeddedPlatform
from vila2.client import ApiError
from vila2.schemas.rest.datasets import DatasetIn


class Base(DeclarativeBase):
    """The tests' metadata."""


class NoteRow(Base):
    __tablename__ = "notes"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.sqlite(tmp_path / "notes.sqlite", Base.metadata)
    yield made
    made.close()


def add(database: Database, **notes: float) -> None:
    with database.transaction() as session:
        session.add_all(NoteRow(id=name, at=at) for name, at in notes.items())


def page_of(
    database: Database, after: Key | None, *, limit: int = 2, newest_first: bool = False
) -> tuple[list[str], Key | None]:
    """The names on a page, and where the next one begins."""
    ends: list[Key] = []
    page = Page(limit, after, ends.append)
    with database.reading() as session:
        rows = page.rows(
            session, select(NoteRow), NoteRow.at, NoteRow.id, newest_first=newest_first
        )
        return [row.id for row in rows], ends[0] if ends else None


@pytest.mark.parametrize("newest_first", [False, True])
def test_rows_of_the_same_moment_are_met_once_each(database: Database, newest_first: bool) -> None:
    add(database, a=1.0, b=2.0, c=2.0, d=2.0, e=3.5)
    seen, after = page_of(database, None, newest_first=newest_first)
    while after is not None:
        more, after = page_of(database, after, newest_first=newest_first)
        seen += more
    assert seen == sorted("abcde", reverse=newest_first)


def test_rows_that_come_and_go_during_a_walk_shift_nothing(database: Database) -> None:
    add(database, a=1.0, b=2.0, c=3.0, d=4.0)
    first, after = page_of(database, None)
    add(database, before=0.5, between=2.5)
    with database.transaction() as session:
        session.delete(session.get_one(NoteRow, "a"))
    second, after = page_of(database, after, limit=3)
    assert (first, second, after) == (["a", "b"], ["between", "c", "d"], None)


def test_the_last_page_has_no_next_one(database: Database) -> None:
    add(database, a=1.0, b=2.0)
    assert page_of(database, None) == (["a", "b"], None)


@pytest.mark.parametrize(
    "wrong", [(1.0,), ("1", "a"), (1.0, 2), (1.0, "a", "b"), (True, "a"), (float("inf"), "a")]
)
def test_a_cursor_of_another_shape_is_refused(database: Database, wrong: Any) -> None:
    with pytest.raises(Invalid, match="does not belong to this list"):
        page_of(database, wrong)


@given(
    names=st.lists(st.tuples(st.text(), st.integers(0, 3)), unique=True),
    limit=st.integers(1, 5),
)
def test_pages_of_a_list_at_hand_are_the_list(names: list[tuple[str, int]], limit: int) -> None:
    seen: list[tuple[str, int]] = []
    after: Key | None = None
    for _ in range(len(names) // limit + 1):
        ends: list[Key] = []
        seen += Page(limit, after, ends.append).items(names, lambda item: item)
        if not ends:
            break
        after = ends[0]
    assert seen == sorted(names)


def test_a_list_that_grows_at_its_end_keeps_its_numbers() -> None:
    ends: list[Key] = []
    assert Page(2, None, ends.append).numbered(["x", "x", "y"]) == ["x", "x"]
    assert Page(2, ends[0], ends.append).numbered(["x", "x", "y", "z"]) == ["y", "z"]


@pytest.fixture
def datasets(platform: EmbeddedPlatform) -> EmbeddedPlatform:
    """Five datasets, from `set-0` to `set-4`."""
    for number in range(5):
        platform.client.datasets.create(DatasetIn(name=f"set-{number}", kind="pairs"))
    return platform


def ask(platform: EmbeddedPlatform, **params: Any) -> Any:
    return platform.client.datasets.send("GET", "datasets", params=params)


def test_the_link_header_leads_from_page_to_page(datasets: EmbeddedPlatform) -> None:
    reply = ask(datasets, query="set", limit=2)
    assert [row["name"] for row in reply.json()] == ["set-0", "set-1"]
    following = reply.url.join(reply.links["next"]["url"])
    assert (following.params["limit"], following.params["query"]) == ("2", "set")
    reply = ask(datasets, **following.params)
    assert [row["name"] for row in reply.json()] == ["set-2", "set-3"]


def test_the_client_walks_all_pages(datasets: EmbeddedPlatform) -> None:
    from vila2.schemas.rest.datasets import Dataset

    found = datasets.client.datasets.each(Dataset, "datasets", page=2)
    assert [held.name for held in found] == [f"set-{number}" for number in range(5)]


def made_up(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor", ["x", "%%%", made_up(7), made_up(["00000000", "set-1"]), "é", "W" * 1999]
)
def test_a_made_up_cursor_is_refused_with_field_and_fix(
    platform: EmbeddedPlatform, cursor: str
) -> None:
    with pytest.raises(ApiError) as refused:
        ask(platform, cursor=cursor)
    problem = refused.value.problem
    assert (problem.status, problem.field) == (422, "cursor")
    assert "Link header" in (problem.fix or "")


def test_a_cursor_holds_for_its_filters_only(datasets: EmbeddedPlatform) -> None:
    link = ask(datasets, query="set", limit=2).links["next"]["url"]
    cursor = ask(datasets).url.join(link).params["cursor"]
    with pytest.raises(ApiError, match="this list and its filters"):
        ask(datasets, query="other", cursor=cursor)


@pytest.mark.parametrize("limit", ["0", "1001", "many"])
def test_a_wrong_limit_is_refused_with_its_field(platform: EmbeddedPlatform, limit: str) -> None:
    with pytest.raises(ApiError) as refused:
        ask(platform, limit=limit)
    assert refused.value.problem.field == "query.limit"
