"""The caption service's migrations: one file per step in `versions/`, numbered."""

from __future__ import annotations

from pathlib import Path

from services.chassis.storage.migrations import Migrations

MIGRATIONS = Migrations("caption", Path(__file__).parent)
