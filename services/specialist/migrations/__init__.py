"""Migrations of the specialist service: one numbered file per step in `versions/`."""

from __future__ import annotations

from pathlib import Path

from services.chassis.storage.migrations import Migrations

MIGRATIONS = Migrations("specialist", Path(__file__).parent)
