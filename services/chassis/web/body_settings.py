"""Size limits of request bodies, from environment variables.

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
