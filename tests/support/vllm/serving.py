"""A real Triton whose models are run by a real vLLM."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save_file

from services.caption.engines.triton import TritonEngine, TritonEngines
from services.caption.engines.triton_connection import Connection
from services.caption.tables import Base, ServedModelRow
from services.caption.triton.repository import EngineOptions, publish
from services.caption.triton.served import READY, ServedModels
from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from tests.support.servers.triton import triton_server
from tests.support.vllm.environment import ENVIRONMENT, vllm_python
from tests.support.vllm.models import blocks, spread
from vila2.engine.reference import mean_embedding
from vila2.engine.requests import REFERENCE_FILE
from vila2.model.preset import load_preset
from vila2.triton.install import Installed

PREFIX = "models/m-0"


class VllmServing:
    """One server with one model in reach, and the engine that talks to it."""

    def __init__(self, folder: Path) -> None:
        environment = vllm_python().parent.parent
        self.model = folder / "model"
        vlm = spread(load_preset("tiny"))
        vlm.save(self.model)
        reference = self.model / REFERENCE_FILE
        reference.parent.mkdir()
        save_file({"embedding": mean_embedding(vlm, blocks(8, 32)).contiguous()}, reference)
        self.objects = DirectoryObjects(folder / "objects")
        self.objects.put_directory(PREFIX, self.model)
        self.server_folder = folder / "objects" / "serving"
        self.server = triton_server(self.server_folder)
        self.server.installed = Installed(Installed.default().folder, environment)
        self.server.env = ENVIRONMENT
        self.server.start()
        self.database = Database.sqlite(folder / "served.sqlite", Base.metadata)
        self.connection = Connection(self.server.url)
        options = EngineOptions(backend="vllm", batch_size=16)
        served = ServedModels(
            self.database, self.objects, self.connection, options=options, budget=2**30
        )
        self.options = options
        self.engines = TritonEngines(self.connection, self.objects, served, patience=60.0)

    @property
    def engine(self) -> TritonEngine:
        return self.engines.get(PREFIX)

    def published(self, prefix: str, change: Callable[[Path], None]) -> TritonEngine:
        """The model once more, with what Triton reads of it changed; `change` gets its folder."""
        name = prefix.rpartition("/")[2]
        self.objects.put_directory(prefix, self.model)
        publish(self.objects, name, prefix, self.options)
        change(self.server_folder / name / "1" / "checkpoint")
        self.connection.load(name)
        with self.database.transaction() as session:
            session.add(ServedModelRow(server=self.server.url, prefix=prefix, state=READY))
        return self.engines.get(prefix)

    def metrics(self) -> str:
        with urllib.request.urlopen(self.server.metrics_url, timeout=5) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        self.engines.close()
        self.server.stop()
        self.database.close()
