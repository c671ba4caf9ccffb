"""How large the bodies of requests may be, from environment variables.

VILA2_MAX_JSON_BYTES    the largest body of a request (default 2 MiB)
VILA2_MAX_DATA_BYTES    of one that carries images or outcomes in its JSON (default 64 MiB)
VILA2_MAX_UPLOAD_BYTES  of one piece of an upload (default 512 MiB)
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Body = Literal["json", "data", "upload"]


class BodySettings(BaseSettings):
    """How large the bodies of requests may be, in bytes, by what they hold."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    max_json_bytes: int = Field(2 << 20, ge=1)
    max_data_bytes: int = Field(64 << 20, ge=1)
    max_upload_bytes: int = Field(512 << 20, ge=1)

    def of(self, kind: Body) -> tuple[int, str]:
        """The bound of a kind, and the variable that sets it."""
        most: int = getattr(self, f"max_{kind}_bytes")
        return most, f"VILA2_MAX_{kind.upper()}_BYTES"
