"""A request with a key creates one thing, however often it is sent and however many send it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import String, UniqueConstraint, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from services.chassis.storage.database import Database
from services.chassis.web.errors import Invalid
from services.chassis.web.idempotency import HEADER, KeyedRequest, TokenColumns, create_once
from services.platform.embedded import EmbeddedPlatform
from tests.support.embedded_platform import client_with
from vila2.client import ApiError, Client
from vila2.schemas.rest.base import Body
from vila2.schemas.rest.datasets import DatasetIn, VersionIn


class NoteIn(Body):
    """A body with a default."""

    text: str
    pages: int = 1


class Base(DeclarativeBase):
    """The test's metadata."""


class NoteRow(TokenColumns, Base):
    __tablename__ = "notes"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    team: Mapped[str] = mapped_column(String(20))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database.open(database_url, Base.metadata)
    yield made
    made.close()


def note(database: Database, asked: KeyedRequest, *, pause: float = 0.0) -> int:
    def found_or_made(session: Session) -> int:
        row = asked.find(session, NoteRow, team="red")
        if row is None:
            time.sleep(pause)
            row = NoteRow(team="red", **asked.columns)
            session.add(row)
            session.flush()
        return row.id

    return create_once(database, found_or_made)


def count(database: Database) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(NoteRow)) or 0


def test_the_same_key_and_body_find_what_they_created(database: Database) -> None:
    asked = KeyedRequest.of("a", NoteIn(text="fox"))
    assert note(database, asked) == note(database, asked)
    assert count(database) == 1


def test_without_a_key_each_request_creates(database: Database) -> None:
    asked = KeyedRequest.of(None, NoteIn(text="fox"))
    assert note(database, asked) != note(database, asked)


def test_the_same_key_with_another_body_is_refused(database: Database) -> None:
    note(database, KeyedRequest.of("a", NoteIn(text="fox")))
    with pytest.raises(Invalid, match="came with another request") as refused:
        note(database, KeyedRequest.of("a", NoteIn(text="owl")))
    assert (refused.value.status, refused.value.field) == (422, HEADER)
    assert count(database) == 1


def test_a_field_at_its_default_is_as_good_as_left_out() -> None:
    """A client of a later version may send it, or none of it."""
    given = NoteIn.model_validate({"pages": 1, "text": "fox"})
    assert KeyedRequest.of("a", given) == KeyedRequest.of("a", NoteIn(text="fox"))


def test_what_the_path_names_is_part_of_the_request() -> None:
    """Branches of two runs are two things, though the bodies are the same."""
    body = NoteIn(text="fox")
    assert KeyedRequest.of("a", body, "run-1") != KeyedRequest.of("a", body, "run-2")


def test_of_those_that_create_at_once_one_does_and_all_find_it(database: Database) -> None:
    """All have looked and found nothing: the unique constraint decides."""
    asked = KeyedRequest.of("a", NoteIn(text="fox"))
    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(lambda _: note(database, asked, pause=0.2), range(4)))
    assert len(found) == count(database) == 1


def opened(client: Client, token: str, **body: Any) -> int:
    return client.datasets.open_version("foxes", VersionIn(**body), token).version


@pytest.fixture
def red(platform: EmbeddedPlatform) -> Client:
    client = client_with(platform, platform.identity.keys.issue(team="red"))
    client.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    return client


def test_a_key_is_sent_in_the_header_and_the_refusal_names_it(red: Client) -> None:
    assert opened(red, "monday") == opened(red, "monday") == 1
    with pytest.raises(ApiError) as refused:
        opened(red, "monday", licence="CC0")
    problem = refused.value.problem
    assert (problem.status, problem.field) == (422, "Idempotency-Key")
    assert opened(red, "tuesday", licence="CC0") == 2


@pytest.mark.parametrize("wrong", ["k" * 256, "with space", "é"])
def test_a_key_is_visible_ascii_and_not_too_long(red: Client, wrong: str) -> None:
    with pytest.raises(ApiError) as refused:
        red.datasets.send(
            "POST", "datasets/foxes/versions", json={}, headers={HEADER: wrong.encode("latin-1")}
        )
    assert (refused.value.problem.status, refused.value.problem.field) == (422, HEADER)


def test_another_teams_key_is_another_request(platform: EmbeddedPlatform, red: Client) -> None:
    blue = client_with(platform, platform.identity.keys.issue(team="blue"))
    blue.datasets.create(DatasetIn(name="foxes", kind="pairs"))
    opened(red, "a")
    assert opened(blue, "a", licence="CC0") == 1
