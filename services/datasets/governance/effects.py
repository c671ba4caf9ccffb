"""The record of what a take-down did, kept in its row while it works."""

from __future__ import annotations

from typing import Any

from services.datasets.tables import TakedownRow
from vila2.schemas.refs import DatasetRef


class Effects:
    """The effects of a takedown so far; every change is written to its row."""

    def __init__(self, row: TakedownRow) -> None:
        self._row = row

    @property
    def samples(self) -> int:
        """Samples taken out."""
        return int(self._row.effects.get("samples", 0))

    @property
    def versions(self) -> list[DatasetRef]:
        """Versions that held the image."""
        return [DatasetRef.parse(name) for name in self._row.effects.get("versions", [])]

    @property
    def layers(self) -> list[str]:
        """Layers that described it."""
        return list(self._row.effects.get("layers", []))

    def add(
        self,
        *,
        samples: int = 0,
        captions: int = 0,
        version: DatasetRef | None = None,
        layer: str = "",
    ) -> None:
        """Count samples and rows of captions, and remember where they were."""
        self._set("samples", self.samples + samples)
        self._set("captions", int(self._row.effects.get("captions", 0)) + captions)
        self.extend("versions", [str(version)] if version else [])
        self.extend("layers", [layer] if layer else [])

    def drop(self, *keys: str) -> None:
        """Record objects to delete."""
        self.extend("drop", keys)

    def left(self, where: str) -> None:
        """Record a location that the store cannot reach."""
        self.extend("left_in_place", [where])

    def extend(self, name: str, values: Any) -> None:
        """Add to a list what is not in it yet."""
        self._set(name, list(dict.fromkeys([*self._row.effects.get(name, []), *values])))

    def _set(self, name: str, value: Any) -> None:
        # A new dict: the database layer does not see changes within one.
        self._row.effects = {**self._row.effects, name: value}
