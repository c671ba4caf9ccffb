"""Lookup of a team's rows by name; every query filters by team, which isolates tenants."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.work.units import FAILED
from services.datasets.tables import DatasetRow, LayerRow, ShardRow, VersionRow, WorkUnitRow
from vila2.schemas.refs import DatasetRef

PAGE = 1000  # shards read at a time
GONE = ("deleting", "deleted")  # states of versions that only their deletion sees


def find_dataset(session: Session, team: str, name: str) -> DatasetRow | None:
    """A dataset by name, also a deleted one, or `None`."""
    return session.scalar(
        select(DatasetRow).where(DatasetRow.team == team, DatasetRow.name == name)
    )


def dataset_row(session: Session, team: str, name: str) -> DatasetRow:
    """A dataset by name, or `NotFound`."""
    row = find_dataset(session, team, name)
    if row is None or row.deleted:
        raise NotFound(
            f"no dataset {name!r}" + ("" if row is None else ": it was deleted"),
            field="dataset",
            fix="`vila2 datasets list` shows yours",
        )
    return row


def version_row(session: Session, dataset: DatasetRow, number: int) -> VersionRow:
    """A version; number 0 is the dataset's latest."""
    wanted = number or dataset.latest
    row = session.scalar(
        select(VersionRow).where(VersionRow.dataset_id == dataset.id, VersionRow.number == wanted)
    )
    if row is None or row.state in GONE:
        newest = session.scalar(
            select(VersionRow)
            .where(VersionRow.dataset_id == dataset.id, VersionRow.state.not_in(GONE))
            .order_by(VersionRow.number.desc())
            .limit(1)
        )
        which = f"version {number}" if number else "ready version"
        which += "" if row is None else ": it was deleted"
        fix = "submit data to it"
        if newest is not None:
            fix = f"the newest is {dataset.name}@{newest.number}, which is {newest.state}"
        raise NotFound(f"dataset {dataset.name} has no {which}", field="version", fix=fix)
    return row


def locked_version(session: Session, dataset: DatasetRow, number: int) -> VersionRow:
    """As `version_row`; no other transaction changes the row until this one ends."""
    row = version_row(session, dataset, number)
    session.refresh(row, with_for_update=True)
    # It may have been deleted before the lock was free.
    return version_row(session, dataset, row.number) if row.state in GONE else row


def next_number(session: Session, dataset: DatasetRow) -> int:
    """The number of a new version; the numbers of deleted ones are not used again."""
    newest = session.scalar(
        select(func.max(VersionRow.number)).where(VersionRow.dataset_id == dataset.id)
    )
    return (newest or 0) + 1


def ready_version(session: Session, team: str, name: str, number: int = 0) -> VersionRow:
    """A ready version; raises `Conflict` or `NotFound` otherwise."""
    row = version_row(session, dataset_row(session, team, name), number)
    if row.state != "ready":
        raise Conflict(f"version {row.number} of {name} is {row.state}", fix="wait for it")
    return row


def named_version(session: Session, team: str, ref: DatasetRef) -> VersionRow:
    """The ready version of that name."""
    return ready_version(session, team, ref.name, ref.version)


def shown_state(session: Session, row: VersionRow) -> tuple[str, WorkUnitRow | None]:
    """A version's state as clients see it, and the unit of work that makes its shards."""
    unit = session.get(WorkUnitRow, f"ingest-{row.id}")
    # Ingest marks versions with invalid data; if it failed otherwise, only its unit shows it.
    gave_up = row.state == "ingesting" and unit is not None and unit.state == FAILED
    return ("failed" if gave_up else row.state), unit


def version_ever(session: Session, team: str, ref: DatasetRef) -> VersionRow:
    """The row of a numbered version that once was there, also if it was deleted since."""
    return session.execute(
        select(VersionRow)
        .join(DatasetRow, DatasetRow.id == VersionRow.dataset_id)
        .where(
            DatasetRow.team == team,
            DatasetRow.name == ref.name,
            VersionRow.number == ref.version,
        )
    ).scalar_one()


def version_name(session: Session, version_id: int) -> str:
    """`dataset@version`, as messages name it."""
    version = session.get_one(VersionRow, version_id)
    return str(DatasetRef(session.get_one(DatasetRow, version.dataset_id).name, version.number))


def shards_of(
    session: Session, version_id: int, *, after: int = -1, limit: int = 0
) -> list[ShardRow]:
    """Shards of a version in order, after number `after`; all of them if `limit` is 0."""
    query = (
        select(ShardRow)
        .where(ShardRow.version_id == version_id, ShardRow.number > after)
        .order_by(ShardRow.number)
    )
    return list(session.scalars(query.limit(limit) if limit else query))


def each_shard(database: Database, version_id: int) -> Iterator[ShardRow]:
    """All shards of a version in order, read in pages with one transaction each."""
    after = -1
    while True:
        with database.reading() as session:
            page = shards_of(session, version_id, after=after, limit=PAGE)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].number


def layer_row(session: Session, team: str, layer: str) -> LayerRow:
    """A layer by id, or the newest sealed one of that name."""
    row = session.scalar(select(LayerRow).where(LayerRow.id == layer, LayerRow.team == team))
    if row is None:
        row = session.scalar(
            select(LayerRow)
            .where(LayerRow.name == layer, LayerRow.team == team, LayerRow.state == "sealed")
            .order_by(LayerRow.created_at.desc())
        )
    if row is None:
        raise NotFound(f"no layer {layer!r}", field="layer", fix="`vila2 captions list`")
    return row
