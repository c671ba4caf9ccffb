"""Which engine and which broker the caption service uses, from environment variables.

VILA2_TRITON_URL       HOST:PORT of a Triton server's gRPC, or several with commas between; without
                       it the engine is embedded
VILA2_TRITON_BACKEND   python (default), or vllm
VILA2_TRITON_MEMORY    MiB that models may take on the server; least recently used go first
VILA2_LEASE_SECONDS    how long a silent worker keeps its shard (default 60)
VILA2_ENDPOINTS        endpoints that teams may use, and their keys (`engines/endpoint/allowed.py`)
VILA2_BATCH_SIZE       requests of one batch in transformers' engine (default 16)
VILA2_BROKER_URL       redis://HOST:PORT/N: layers are captioned by workers, not in this process
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.caption.engines.engine import Engines
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.work.queue import Queue
from services.chassis.work.queue_inprocess import InProcessQueue

_PATIENCE_IN_A_POOL = 5.0  # seconds


class CaptionSettings(BaseSettings):
    """Settings of the caption service's engine and queue."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    triton_url: str = ""
    triton_backend: Literal["python", "vllm"] = "python"
    triton_memory: int = Field(4096, ge=1)
    triton_batch_size: int = Field(64, ge=1)
    triton_threads: int = Field(1, ge=0)
    triton_gpus: int = Field(0, ge=0)
    triton_instances: int = Field(1, ge=1)
    triton_patience: float = Field(45.0, gt=0)
    endpoints: str = ""
    batch_size: int = Field(16, ge=1)
    broker_url: SecretStr = SecretStr("")
    lease_seconds: float = Field(60.0, gt=1)

    def engines(self, database: Database, objects: ObjectStore) -> Engines:
        """Build the engine adapters, and the router that chooses between them."""
        from services.caption.engines.endpoint.allowed import AllowedEndpoints
        from services.caption.engines.endpoint.engines import EndpointEngines
        from services.caption.engines.routed import RoutedEngines
        from services.caption.engines.transformers_generate import TransformersEngines

        return RoutedEngines(
            objects,
            composed=self._composed(database, objects),
            external=TransformersEngines(objects.local, batch_size=self.batch_size),
            endpoints=EndpointEngines(objects, AllowedEndpoints(self.endpoints)),
        )

    def _composed(self, database: Database, objects: ObjectStore) -> Engines:
        """The engine of models in the composed layout."""
        if not self.triton_url:
            from services.caption.engines.embedded import EmbeddedEngines

            return EmbeddedEngines(objects.local)
        from services.caption.engines.triton_pool import Member, TritonPool

        addresses = self.triton_urls
        members = [Member(url, self._on_triton(url, database, objects)) for url in addresses]
        return members[0].engines if len(members) == 1 else TritonPool(members)

    @property
    def triton_urls(self) -> list[str]:
        """The addresses in `triton_url`."""
        return [url for each in self.triton_url.split(",") if (url := each.strip())]

    def _on_triton(self, url: str, database: Database, objects: ObjectStore) -> Engines:
        """The engine of models on one server."""
        from services.caption.engines.triton import TritonEngines
        from services.caption.engines.triton_connection import Connection
        from services.caption.serving.deployments import prefixes_in_use
        from services.caption.triton.repository import EngineOptions
        from services.caption.triton.served import ServedModels

        connection = Connection(url)
        served = ServedModels(
            database,
            objects,
            connection,
            options=EngineOptions(
                backend=self.triton_backend,
                batch_size=self.triton_batch_size,
                threads=self.triton_threads,
                gpus=self.triton_gpus,
                instances=self.triton_instances,
            ),
            budget=self.triton_memory * 2**20,
            keep=prefixes_in_use,
        )
        # Where there are others, one that is away is waited for only as long as a hiccup lasts.
        patience = self.triton_patience if len(self.triton_urls) == 1 else _PATIENCE_IN_A_POOL
        return TritonEngines(connection, objects, served, patience=patience)

    def queue(self, *, workers: int) -> Queue:
        """Build the configured queue; with `workers` it consumes here, otherwise only publishes."""
        broker = self.broker_url.get_secret_value()
        if not broker:
            return InProcessQueue(name="caption", workers=workers or 1)
        from services.chassis.work.queue_celery import CeleryQueue

        return CeleryQueue(broker, name="caption", workers=workers)

    @property
    def local_workers(self) -> int:
        """Number of concurrent shards in the service's own process.

        Two with a server, so that it is not idle while a shard finishes; one with the embedded
        engine, so that a layer's batches are reproducible.
        """
        return 0 if self.workers_apart else 2 if self.triton_url else 1

    @property
    def workers_apart(self) -> bool:
        """Whether layers are captioned by separate worker processes."""
        return bool(self.broker_url.get_secret_value())
