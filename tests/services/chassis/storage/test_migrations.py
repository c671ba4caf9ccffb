"""Every service's migrations, on both databases; services and steps are found, not listed."""

from __future__ import annotations

import importlib
import multiprocessing
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from sqlalchemy import Column, Engine, ForeignKey, Integer, MetaData, Table, inspect, text
from sqlalchemy.exc import IntegrityError

import services
from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.migrations import DatabaseNewer, DatabaseUnknown, Migrations
from services.chassis.storage.new_migration import write

SERVICES = [
    module.name
    for module in pkgutil.iter_modules(services.__path__)
    if (Path(services.__path__[0]) / module.name / "tables.py").exists()
]


def metadata_of(service: str) -> MetaData:
    tables: Any = importlib.import_module(f"services.{service}.tables")
    metadata: MetaData = tables.Base.metadata
    return metadata


def migrations_of(service: str) -> Migrations:
    found: Migrations = importlib.import_module(f"services.{service}.migrations").MIGRATIONS
    return found


class Opened:
    """A service's migrated database."""

    def __init__(self, service: str, url: str) -> None:
        self.service, self.url = service, url
        self.metadata, self.migrations = metadata_of(service), migrations_of(service)
        self.database = Database.open(url, self.metadata, self.migrations)

    @property
    def engine(self) -> Engine:
        return self.database._engine

    def differences(self) -> list[Any]:
        with self.engine.connect() as connection:
            found: list[Any] = compare_metadata(self.migrations.context(connection), self.metadata)
        return found

    def move(self, revision: str) -> None:
        with self.engine.begin() as connection:
            self.migrations.move(connection, revision)

    def run(self, sql: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(sql))

    def forget(self) -> None:
        """Tables, and no record of a version."""
        self.run(f"DROP TABLE {self.migrations.version_table}")

    def again(self) -> Opened:
        return Opened(self.service, self.url)


@pytest.fixture(params=SERVICES)
def opened(request: pytest.FixtureRequest, database_url: str) -> Iterator[Opened]:
    made = Opened(request.param, database_url)
    yield made
    made.database.close()


def open_once(service: str, url: str) -> bool:
    """Run in a process of its own."""
    Database.open(url, metadata_of(service), migrations_of(service)).close()
    return True


def test_every_service_with_tables_has_migrations() -> None:
    """A service that is added is covered here too."""
    assert {"caption", "controller", "datasets", "specialist", "training"} <= set(SERVICES)
    for service in SERVICES:
        steps = migrations_of(service).revisions
        assert steps == [f"{number:04d}" for number in range(1, len(steps) + 1)]


def test_an_empty_database_becomes_exactly_what_the_models_say(opened: Opened) -> None:
    """A change to the tables without a migration fails here: `make migration` writes it."""
    assert opened.differences() == []


def test_every_step_can_be_undone_and_done_again(opened: Opened) -> None:
    """One by one, from the newest to nothing and back."""
    steps = ["base", *opened.migrations.revisions]
    for step in steps[::-1] + steps[1:]:
        opened.move(step)
    assert opened.differences() == []


def test_opening_again_changes_nothing(opened: Opened) -> None:
    """A process that starts finds its work done."""
    again = opened.again()
    assert again.differences() == []
    again.database.close()


def test_a_database_with_tables_of_another_program_is_refused(opened: Opened) -> None:
    """The message names a table and what to do."""
    opened.forget()
    with pytest.raises(DatabaseUnknown, match=r"has a table \w+ that no migration made.*empty"):
        opened.again()


def test_a_database_of_a_newer_version_is_refused(opened: Opened) -> None:
    """Old software would write rows that the new one cannot read."""
    opened.run(f"UPDATE {opened.migrations.version_table} SET version_num = '9999'")
    with pytest.raises(DatabaseNewer, match=r"revision 9999.*upgrade the software"):
        opened.again()


@pytest.mark.parametrize("service", SERVICES)
def test_threads_that_open_a_database_at_once_all_succeed(service: str, database_url: str) -> None:
    """One migrates and the others wait."""
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(open_once, [service] * 4, [database_url] * 4))


@pytest.mark.slow
def test_processes_that_open_databases_at_once_all_succeed(
    database_url: str, tmp_path: Path
) -> None:
    """Replicas of a service start together; new SQLite files are where they used to collide."""
    fresh = multiprocessing.get_context("spawn")
    urls = [database_url, *(f"sqlite:///{tmp_path}/{number}" for number in range(10))]
    with ProcessPoolExecutor(3, mp_context=fresh) as processes:
        rivals = [url for url in urls for _ in range(3)]
        assert all(processes.map(open_once, ["datasets"] * len(rivals), rivals))


def test_services_share_a_postgresql_database_without_seeing_each_other(postgres_url: str) -> None:
    """Two of them have a table `work_units`."""
    for service in SERVICES:
        opened = Opened(service, postgres_url)
        assert opened.differences() == []
        assert opened.migrations.version_table in inspect(opened.engine).get_table_names()
        opened.database.close()


def test_without_migrations_the_tables_are_just_made(database_url: str) -> None:
    """What tests make for themselves needs no steps."""
    metadata = MetaData()
    Table("things", metadata, Column("id", Integer, primary_key=True))
    database = Database.open(database_url, metadata)
    assert inspect(database._engine).get_table_names() == ["things"]
    database.close()


def test_a_url_of_another_database_is_refused() -> None:
    """The message says what can be used, and not the password."""
    with pytest.raises(ValueError, match=r"mysql://u:\*\*\*@h/d: use sqlite:///FILE or postgres"):
        Database.open("mysql://u:secret@h/d", MetaData())


def test_what_looks_up_and_then_inserts_exclusively_inserts_once(database_url: str) -> None:
    """Eight requests with one token make one row, with no constraint to help."""
    metadata = MetaData()
    rows = Table("rows", metadata, Column("id", Integer, primary_key=True))
    database = Database.open(database_url, metadata)

    def start(_: int) -> None:
        with database.transaction() as session:
            exclusively(session, "token:t")
            if session.execute(rows.select()).first() is None:
                session.execute(rows.insert())

    with ThreadPoolExecutor(8) as requests:
        list(requests.map(start, range(8)))
    with database.transaction() as session:
        assert len(session.execute(rows.select()).all()) == 1
    database.close()


def test_a_migration_is_written_from_what_the_tables_gained(tmp_path: Path) -> None:
    """The first step and the next, numbered in order."""
    (tmp_path / "versions").mkdir()
    metadata = MetaData()
    table = Table("things", metadata, Column("id", Integer, primary_key=True))
    first = write(Migrations("s", tmp_path), metadata, "begin")
    table.append_column(Column("size", Integer))
    second = write(Migrations("s", tmp_path), metadata, "add_size")
    assert [first.name, second.name] == ["0001_begin.py", "0002_add_size.py"]
    database = Database.open(f"sqlite:///{tmp_path}/d", metadata, Migrations("s", tmp_path))
    columns = inspect(database._engine).get_columns("things")
    assert [column["name"] for column in columns] == ["id", "size"]
    database.close()


REBUILD = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    with op.batch_alter_table("parents", recreate="always") as batch:
        batch.add_column(sa.Column("size", sa.Integer()))


def downgrade() -> None:
    with op.batch_alter_table("parents", recreate="always") as batch:
        batch.drop_column("size")
"""


def test_a_step_may_rebuild_a_table_that_others_point_to(tmp_path: Path) -> None:
    """SQLite changes a table by copying it; rows that refer to it stay, and stay checked."""
    (tmp_path / "versions").mkdir()
    metadata, url = MetaData(), f"sqlite:///{tmp_path}/d"
    parents = Table("parents", metadata, Column("id", Integer, primary_key=True))
    children = Table("children", metadata, Column("parent", ForeignKey(parents.c.id)))
    write(Migrations("s", tmp_path), metadata, "begin")
    before = Database.open(url, metadata, Migrations("s", tmp_path))
    with before.transaction() as session:
        session.execute(parents.insert().values(id=1))
        session.execute(children.insert().values(parent=1))
    before.close()
    (tmp_path / "versions" / "0002_rebuild.py").write_text(REBUILD)
    after = Database.open(url, metadata, Migrations("s", tmp_path))
    with after.transaction() as session:
        assert session.execute(children.select()).all() == [(1,)]
        with pytest.raises(IntegrityError):
            session.execute(children.insert().values(parent=2))
    after.close()
