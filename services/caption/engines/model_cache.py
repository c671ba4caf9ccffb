"""Models loaded in this process, with least-recently-used eviction."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

E = TypeVar("E")


class ModelCache(Generic[E]):
    """Up to `keep` models, by object prefix; `load` opens a model on its first use."""

    def __init__(self, load: Callable[[str], E], *, keep: int) -> None:
        self._load, self._keep = load, keep
        self._loaded: OrderedDict[str, E] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, prefix: str) -> E:
        """The model, loaded if necessary."""
        with self._lock:
            model = self._loaded.get(prefix)
            if model is None:
                model = self._loaded[prefix] = self._load(prefix)
            self._loaded.move_to_end(prefix)
            # Callers that still hold an evicted model finish; it is freed with the last reference.
            while len(self._loaded) > self._keep:
                self._loaded.popitem(last=False)
            return model

    def release(self, prefix: str) -> bool:
        """Drop a model; requests in progress finish."""
        with self._lock:
            self._loaded.pop(prefix, None)
        return True

    def close(self) -> None:
        """Drop all models."""
        with self._lock:
            self._loaded.clear()
