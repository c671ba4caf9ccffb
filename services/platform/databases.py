"""Every service's migrations, found rather than listed, for what looks after all databases."""

from __future__ import annotations

import importlib
import pkgutil

import services
from services.chassis.storage.migrations import Migrations


def all_migrations() -> list[Migrations]:
    """Those of each package `services.*.migrations`, by service."""
    names = [
        found.name
        for found in pkgutil.walk_packages(services.__path__, "services.")
        if found.ispkg and found.name.endswith(".migrations")
    ]
    return [importlib.import_module(name).MIGRATIONS for name in sorted(names)]
