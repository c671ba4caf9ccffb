"""Migrations of identity: one numbered file per step in `versions/`."""

from __future__ import annotations

from pathlib import Path

from services.chassis.storage.migrations import Migrations

MIGRATIONS = Migrations("identity", Path(__file__).parent)
