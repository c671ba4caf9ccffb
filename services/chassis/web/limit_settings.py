"""Limits on connections and on concurrent requests, from environment variables.

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
"""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
