"""Limits on connections, concurrent requests and their bodies, from environment variables.

VILA2_MAX_CONNECTIONS        open connections of a server (default 1000); beyond, the one that has
                             waited longest with an unfinished head is closed, else the new one
VILA2_HEAD_SECONDS           time to send a request's line and headers (default 15)
VILA2_BODY_SECONDS           time that a body may take beyond its size at the slowest rate
                             (default 60)
VILA2_BODY_RATE              that rate, bytes per second (default 1024)
VILA2_SEND_SECONDS           time that a client may leave a reply unread (default 120)
VILA2_REQUEST_THREADS        threads for ordinary requests of a process (default 200)
VILA2_TEAM_REQUESTS          requests of a team in progress at once, in each service (default 32)
VILA2_TEAM_WAITING           further requests of the team that wait their turn (default 128)
VILA2_SLOW_THREADS           threads for requests that call a model (default 16)
VILA2_TEAM_SLOW_REQUESTS     of these, requests of one team in progress at once (default 4)
VILA2_TEAM_SLOW_WAITING      further ones of the team that wait their turn (default 16)

Of bodies:

VILA2_MAX_JSON_BYTES    any body not named below (default 2 MiB)
VILA2_MAX_DATA_BYTES    JSON that contains images or outcomes (default 64 MiB)
VILA2_MAX_UPLOAD_BYTES  one part or piece of an upload (default 512 MiB)
VILA2_MAX_JSON_VALUES   values of the first (default 50,000), and
VILA2_MAX_DATA_VALUES   of the second (default 2,000,000), counted by their commas
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Body = Literal["json", "data", "upload"]


class ConnectionSettings(BaseSettings):
    """Limits on a server's connections; times in seconds, the rate in bytes per second."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    max_connections: int = Field(1000, ge=1)
    head_seconds: float = Field(15.0, gt=0)
    body_seconds: float = Field(60.0, gt=0)
    body_rate: int = Field(1024, ge=1)
    send_seconds: float = Field(120.0, gt=0)


class RequestSettings(BaseSettings):
    """Limits on the requests in progress at once."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    request_threads: int = Field(200, ge=1)
    team_requests: int = Field(32, ge=1)
    team_waiting: int = Field(128, ge=0)
    slow_threads: int = Field(16, ge=1)
    team_slow_requests: int = Field(4, ge=1)
    team_slow_waiting: int = Field(16, ge=0)


class BodySettings(BaseSettings):
    """Size limits of request bodies in bytes and values, by kind of body."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    max_json_bytes: int = Field(2 << 20, ge=1)
    max_data_bytes: int = Field(64 << 20, ge=1)
    max_upload_bytes: int = Field(512 << 20, ge=1)
    max_json_values: int = Field(50_000, ge=1)
    max_data_values: int = Field(2_000_000, ge=1)

    def of(self, kind: Body) -> tuple[int, str]:
        """The limit of a kind in bytes, and the variable that sets it."""
        most: int = getattr(self, f"max_{kind}_bytes")
        return most, f"VILA2_MAX_{kind.upper()}_BYTES"

    def values_of(self, kind: Body) -> tuple[int, str] | None:
        """The most values of a kind and the variable that sets it; `None` if it has no values."""
        if kind == "upload":
            return None
        most: int = getattr(self, f"max_{kind}_values")
        return most, f"VILA2_MAX_{kind.upper()}_VALUES"
