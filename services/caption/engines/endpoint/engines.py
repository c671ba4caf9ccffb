"""Models behind endpoints, identified by the file stored for them in place of weights."""

from __future__ import annotations

import threading

from services.caption.engines.endpoint.allowed import AllowedEndpoints
from services.caption.engines.endpoint.engine import (
    NO_SCORES,
    PATIENCE_SECONDS,
    EndpointEngine,
)
from services.caption.engines.engine import Abilities, EngineInfo
from services.caption.engines.event_loop import EventLoop
from services.chassis.storage.objects import ObjectStore
from vila2.schemas.endpoint_model import ENDPOINT_FILE, EndpointModel

NO_SEEDS = "an endpoint does not promise that a seed repeats an answer"
_MOST_IMAGES = 16  # per request; the endpoint may accept fewer


class EndpointEngines:
    """Endpoint models, identified by the file stored for them in place of weights.

    `allowed` decides which addresses may be used, and with which keys.
    """

    def __init__(self, objects: ObjectStore, allowed: AllowedEndpoints) -> None:
        self._objects, self._allowed = objects, allowed
        self._loop: EventLoop | None = None
        self._open: dict[str, EndpointEngine] = {}
        self._lock = threading.Lock()

    def info(self, prefix: str) -> EngineInfo:
        """The endpoint's identity, without a weights version: the endpoint may change them."""
        return EngineInfo("endpoint", f"{self._spec(prefix).url}, seeds not promised")

    def abilities(self, prefix: str) -> Abilities:
        """Prices, and the features that an endpoint does not support."""
        prices = self._spec(prefix).prices
        return Abilities(
            no_scores=NO_SCORES, no_seeds=NO_SEEDS, most_images=_MOST_IMAGES, prices=prices
        )

    def get(self, prefix: str) -> EndpointEngine:
        """The endpoint's engine; raises `EngineRefused` if the endpoint is not allowed."""
        with self._lock:
            engine = self._open.get(prefix)
            if engine is None:
                engine = self._open[prefix] = self.connect(self._spec(prefix))
            return engine

    def connect(self, spec: EndpointModel, *, patience: float = PATIENCE_SECONDS) -> EndpointEngine:
        """An engine for an endpoint that need not be registered; the caller closes it."""
        key = self._allowed.key_of(spec)
        self._loop = self._loop or EventLoop("endpoints")
        return EndpointEngine(spec, self._loop, key=key, patience=patience)

    def release(self, prefix: str) -> bool:
        """Close the model's connections."""
        with self._lock:
            engine = self._open.pop(prefix, None)
        if engine is not None:
            engine.close()
        return True

    def close(self) -> None:
        """Close all connections."""
        for prefix in list(self._open):
            self.release(prefix)
        if self._loop is not None:
            self._loop.close()

    def _spec(self, prefix: str) -> EndpointModel:
        return EndpointModel.model_validate_json(self._objects.get(f"{prefix}/{ENDPOINT_FILE}"))
