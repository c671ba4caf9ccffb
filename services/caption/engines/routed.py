"""Chooses the engine by the files stored for a model.

If there is an endpoint file, the endpoint adapter. If there is a preset, the model has the composed
layout and runs on the configured engine (the continuous batch or Triton). Otherwise transformers'
`generate`.
"""

from __future__ import annotations

from services.caption.engines.engine import Abilities, Engine, EngineInfo, Engines
from services.chassis.storage.objects import ObjectStore
from vila2.model.preset import PRESET_FILE
from vila2.schemas.endpoint_model import ENDPOINT_FILE


class RoutedEngines:
    """Combines all engines of a caption service into one."""

    def __init__(
        self, objects: ObjectStore, *, composed: Engines, external: Engines, endpoints: Engines
    ) -> None:
        self._objects = objects
        self._composed, self._external, self._endpoints = composed, external, endpoints
        self._known: dict[str, Engines] = {}

    def info(self, prefix: str) -> EngineInfo:
        """The engine that serves a model."""
        return self._of(prefix).info(prefix)

    def abilities(self, prefix: str) -> Abilities:
        """What a model supports."""
        return self._of(prefix).abilities(prefix)

    def get(self, prefix: str) -> Engine:
        """The model's engine, loaded if necessary."""
        return self._of(prefix).get(prefix)

    def release(self, prefix: str) -> bool:
        """Free an unused model's memory."""
        return self._of(prefix).release(prefix)

    def close(self) -> None:
        """Release all resources."""
        for engines in (self._composed, self._external, self._endpoints):
            engines.close()

    def _of(self, prefix: str) -> Engines:
        # A model's files never change, so neither does its engine.
        if prefix not in self._known:
            if self._objects.exists(f"{prefix}/{ENDPOINT_FILE}"):
                self._known[prefix] = self._endpoints
            elif self._objects.exists(f"{prefix}/{PRESET_FILE}"):
                self._known[prefix] = self._composed
            else:
                self._known[prefix] = self._external
        return self._known[prefix]
