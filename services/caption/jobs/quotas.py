"""Daily image quotas: usage is counted here, limits come from the identity service.

A layer's images count when its shards are recorded, a direct request's when it is admitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.caption.jobs.days import Spent, day_of, next_day, spent
from services.caption.tables import ImageDayRow
from services.chassis.storage.database import Database
from services.chassis.web.errors import TooManyRequests
from vila2.schemas.rest import caption as api
from vila2.schemas.rest.identity import Limits

_RAISE = "wait, or have the platform's admin raise the team's images_per_day"


class ImageQuotas:
    """Owns the table `image_days`; `limits` returns a team's limits."""

    def __init__(self, database: Database, limits: Callable[[str], Limits]) -> None:
        self._database, self._limits = database, limits

    def add(self, session: Session, team: str, images: int) -> None:
        """Count images in the caller's transaction, regardless of the limit."""
        self._count(session, team, images, most=None)

    def admit(self, team: str, images: int) -> None:
        """Count the images of a request, or raise `TooManyRequests` and count none."""
        now = time.time()
        most = self._limits(team).images_per_day
        if most is not None and images > most:
            fits = False
        else:
            with self._database.transaction() as session:
                fits = self._count(session, team, images, most=most)
        if not fits:
            raise TooManyRequests(
                f"team {team} may caption {most:,} images a day, and {images:,} more are too many "
                "today",
                retry_after=next_day(now) - now,
                field="images",
                fix=_RAISE,
            )

    def spent(self, team: str) -> Spent | None:
        """The used-up quota for which the team's layers must wait, or `None`."""
        most = self._limits(team).images_per_day
        return None if most is None else spent(self._used(team), most, time.time())

    def get(self, team: str) -> api.ImageQuota:
        """A team's images today, and its daily limit."""
        return api.ImageQuota(
            team=team,
            images_per_day=self._limits(team).images_per_day,
            images_today=self._used(team),
            resets_at=next_day(time.time()),
        )

    def _used(self, team: str) -> int:
        with self._database.reading() as session:
            row = session.get(ImageDayRow, (team, day_of(time.time())))
            return row.images if row else 0

    def _count(self, session: Session, team: str, images: int, *, most: int | None) -> bool:
        """Count in one statement, so that concurrent requests cannot exceed the limit."""
        dialect = session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        total = ImageDayRow.images + images
        values = {"team": team, "day": day_of(time.time()), "images": images}
        done = session.execute(
            insert(ImageDayRow)
            .values(values)
            .on_conflict_do_update(
                index_elements=["team", "day"],
                set_={"images": total},
                where=None if most is None else total <= most,
            )
            .returning(ImageDayRow.images)
        )
        return done.first() is not None
