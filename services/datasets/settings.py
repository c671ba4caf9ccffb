"""How much of the dataset store one team can keep busy, from environment variables.

VILA2_INGEST_WORKERS      ingests and audits of a process at once (default 3); one team has all of
                          them but one, so that another team's version never waits for it alone
VILA2_TEAM_INGESTS        versions of a team that may wait for their ingest (default 100)
VILA2_INGEST_FREE_ROWS    rows that an upload may hold whatever its size (default 20000) ...
VILA2_INGEST_ROW_BYTES    ... and uploaded bytes for each further row (default 8)
VILA2_INGEST_FREE_BYTES   bytes that an upload may become whatever its size (default 256 MiB) ...
VILA2_INGEST_EXPANSION    ... and times its size that it may become beyond (default 20)
VILA2_INGEST_FREE_SECONDS CPU seconds for reading an upload whatever its size (default 600) ...
VILA2_INGEST_SECOND_BYTES ... and uploaded bytes for each further second (default 100000)
"""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vila2.data.readers.allowance import Bounds

_DEFAULT = Bounds()


class DatasetsSettings(BaseSettings):
    """Limits of the dataset store."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    ingest_workers: int = Field(3, ge=1)
    team_ingests: int = Field(100, ge=1)
    ingest_free_rows: int = Field(_DEFAULT.free_rows, ge=1)
    ingest_row_bytes: int = Field(_DEFAULT.row_bytes, ge=1)
    ingest_free_bytes: int = Field(_DEFAULT.free_bytes, ge=1)
    ingest_expansion: int = Field(_DEFAULT.expansion, ge=1)
    ingest_free_seconds: int = Field(_DEFAULT.free_seconds, ge=1)
    ingest_second_bytes: int = Field(_DEFAULT.second_bytes, ge=1)

    @property
    def bounds(self) -> Bounds:
        """What an upload may become."""
        return Bounds(
            free_rows=self.ingest_free_rows,
            row_bytes=self.ingest_row_bytes,
            free_bytes=self.ingest_free_bytes,
            expansion=self.ingest_expansion,
            free_seconds=self.ingest_free_seconds,
            second_bytes=self.ingest_second_bytes,
        )
