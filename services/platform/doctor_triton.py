"""Checks Triton and, by one request each, the models loaded on it.

A request is necessary because Triton reports a model as ready even if its process has exited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from services.caption.migrations import MIGRATIONS
from services.caption.settings import CaptionSettings
from services.caption.tables import ServedModelRow
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import sources_of
from vila2.doctor.finding import Finding, attempted, ok, problem
from vila2.engine.requests import Request
from vila2.schemas.sampling import Sampling


def inference(
    caption: CaptionSettings, storage: StorageSettings, workspace: Path
) -> Iterator[Finding]:
    """Check the server, then send one request to each model that should be loaded."""
    for url in caption.triton_urls:
        yield from _server(url, storage, workspace)


def _server(url: str, storage: StorageSettings, workspace: Path) -> Iterator[Finding]:
    from services.caption.engines.triton_connection import Connection

    connection = Connection(url, request_seconds=30)
    try:
        if not connection.run(connection.ready()):
            yield problem("Triton", f"no answer from {url}",
                          fix="start it, or correct VILA2_TRITON_URL")  # fmt: skip
            return
        yield ok("Triton", f"{url} answers")
        prefixes = _loaded(url, storage, workspace)
        if not prefixes:
            yield ok("models on Triton", "none is loaded; the next layer loads its model")
        objects = storage.objects(workspace, sources_of(workspace), create=False)
        for prefix in prefixes:
            name = prefix.rpartition("/")[2]
            yield attempted(
                f"model {name} on Triton", _canary(connection, objects, prefix),
                fix="unload it on Triton (the next layer loads it again), or restart Triton",
            )  # fmt: skip
    finally:
        connection.close()


def _loaded(server: str, storage: StorageSettings, workspace: Path) -> list[str]:
    """Prefixes of the models that are loaded there according to the caption service's database."""
    from services.caption.triton.served import READY

    url = storage.database_url.get_secret_value()
    engine = create_engine(url or f"sqlite:///{workspace / 'db' / 'caption.sqlite'}")
    schemas = {None: MIGRATIONS.service} if url else {}
    try:
        if MIGRATIONS.revision(engine) != MIGRATIONS.revisions[-1]:
            return []  # reported by the database's own check
        chosen = select(ServedModelRow.prefix).where(
            ServedModelRow.server == server, ServedModelRow.state == READY
        )
        with Session(engine.execution_options(schema_translate_map=schemas)) as session:
            return list(session.scalars(chosen))
    finally:
        engine.dispose()


def _canary(connection: object, objects: ObjectStore, prefix: str) -> Callable[[], str]:
    from services.caption.engines.triton import name_of
    from services.caption.engines.triton_connection import Connection
    from services.caption.triton.prompts import PromptFormat

    assert isinstance(connection, Connection)

    def look() -> str:
        prompts = PromptFormat.of_model(objects, prefix)
        pixels = np.full((prompts.image_size, prompts.image_size, 3), 127, np.uint8)
        question = "Describe the image."
        request = Request(pixels, question, 0, Sampling(max_new_tokens=4))
        connection.run(connection.infer(name_of(prefix), prompts.render(question), request))
        return "answers a question about a grey image"

    return look
