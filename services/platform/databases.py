"""Discovers the migrations of all services."""

from __future__ import annotations

import importlib
import pkgutil

import services
from services.chassis.storage.migrations import Migrations


def all_migrations() -> list[Migrations]:
    """The `MIGRATIONS` of each package `services.*.migrations`, sorted by package name."""
    names = [
        found.name
        for found in pkgutil.walk_packages(services.__path__, "services.")
        if found.ispkg and found.name.endswith(".migrations")
    ]
    return [importlib.import_module(name).MIGRATIONS for name in sorted(names)]
