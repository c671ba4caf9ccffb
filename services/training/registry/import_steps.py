"""Registers imported models: checks their files, asks about a test image, names them.

A model is registered only after it has answered, so every listed model works. Each step is
idempotent. If the process dies, another takes the import over when its lease has expired.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from PIL import Image, ImageDraw
from sqlalchemy import or_, select, update

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import Sources
from services.training.registry.added_models import AddedModels, NewModel
from services.training.registry.model_imports import (
    FAILED,
    READY,
    WAITING,
    WORKING,
    ModelImports,
    source_of,
)
from services.training.tables import ModelImportRow
from vila2.client import ApiError, Client, Unreachable
from vila2.model.digest import digest_of, file_digest
from vila2.model.weight_files import CheckpointError, examine
from vila2.schemas.canonical import canonical_json
from vila2.schemas.endpoint_model import ENDPOINT_FILE, EndpointModel
from vila2.schemas.rest import model_imports as api
from vila2.schemas.rest.caption import CaptionsIn
from vila2.schemas.sampling import Gate, Sampling

_log = structlog.get_logger()
_LEASE_SECONDS = 900.0  # a step reads all weights once
_TEST_PROMPT = "Describe the image."
_TEST_TOKENS = 24


class ImportRefused(Exception):
    """A model that cannot be registered; the message says what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class ImportSteps:
    """Runs every waiting import to its end."""

    database: Database
    objects: ObjectStore
    sources: Sources
    imports: ModelImports
    models: AddedModels
    platform: Callable[[str], Client]
    scratch: Path

    def advance_all(self) -> None:
        """Run every waiting import, one after the other."""
        while (row := self._claim()) is not None:
            with structlog.contextvars.bound_contextvars(job=row.id):
                try:
                    self._run(row)
                except (ImportRefused, CheckpointError) as error:
                    self._end(row, FAILED, error=str(error))
                except Unreachable as error:
                    self._end(row, WAITING, phase=str(error))
                    return
                except Exception as error:
                    _log.exception("model import failed")
                    self._end(row, FAILED, error=f"{type(error).__name__}: {error}")

    def _claim(self) -> ModelImportRow | None:
        now = time.time()
        with self.database.transaction() as session:
            due = or_(
                ModelImportRow.state == WAITING,
                (ModelImportRow.state == WORKING) & (ModelImportRow.lease_until < now),
            )
            row = session.scalar(select(ModelImportRow).where(due).limit(1).with_for_update())
            if row is None:
                return None
            row.state, row.lease_until = WORKING, now + _LEASE_SECONDS
            session.flush()
            session.expunge(row)
            return row

    def _run(self, row: ModelImportRow) -> None:
        body = api.ModelIn.model_validate(row.body)
        self.scratch.mkdir(parents=True, exist_ok=True)
        if body.endpoint is not None:
            self._add_endpoint(row, body.endpoint)
            return
        with TemporaryDirectory(dir=self.scratch, prefix="import-") as made:
            folder = Path(made)
            files = self._gather(row, body, folder)
            self._phase(row, "checking the weights")
            try:
                held = examine(folder)
            except CheckpointError as error:
                # The user knows the files by their names, not by their paths here.
                told = str(error).replace(f"{folder}/", "").replace(made, body.name)
                raise ImportRefused(told) from error
            sha256 = digest_of(files)
            origin = body.origin or api.Origin(kind="objects", name=body.objects)
            about = api.ModelOrigin(
                **origin.model_dump(), family=held.family, bytes=held.bytes, dtype=held.dtype,
                digest=sha256,
            )  # fmt: skip
            self._phase(row, "storing the weights")
            self._register(row, folder, sha256, about, parameters=held.parameters)

    def _gather(self, row: ModelImportRow, body: api.ModelIn, folder: Path) -> dict[str, str]:
        """Put the model's files into the folder; returns their digests."""
        if body.objects:
            self._phase(row, f"reading {body.objects}")
            source, prefix = source_of(body.objects)
            objects = self.sources.open(source)
            for key in objects.keys(prefix):
                name = key.removeprefix(f"{prefix}/")
                if "/" not in name and name.endswith(api.SUFFIXES):
                    objects.fetch(key, folder / name)
            return {path.name: file_digest(path) for path in folder.iterdir()}
        files: dict[str, str] = {}
        for file in body.files:
            self._phase(row, f"assembling {file.name}")
            self.imports.join(row.id, file, folder)
            files[file.name] = file_digest(folder / file.name)
            if files[file.name] != file.sha256:
                self.imports.clear(row.id)
                raise ImportRefused(
                    f"{file.name} did not arrive as it was declared (sha256 {file.sha256[:12]}); "
                    "was it changed meanwhile? Add the model again"
                )
        return files

    def _add_endpoint(self, row: ModelImportRow, spec: EndpointModel) -> None:
        """Register an endpoint with the request options that it accepts.

        Endpoints differ in the name of the length limit and in whether they return
        log-probabilities, so each option is tried with a request.
        """
        refused = ""
        for length in dict.fromkeys((spec.length_parameter, "max_completion_tokens")):
            for logprobs in dict.fromkeys((spec.logprobs, False)):
                tried = spec.model_copy(update={"length_parameter": length, "logprobs": logprobs})
                try:
                    self._add_as(row, tried)
                    return
                except ImportRefused as error:
                    if "endpoint-refused" not in str(error):
                        raise
                    refused = refused or str(error)
        raise ImportRefused(refused)

    def _add_as(self, row: ModelImportRow, spec: EndpointModel) -> None:
        with TemporaryDirectory(dir=self.scratch, prefix="import-") as made:
            folder = Path(made)
            path = folder / ENDPOINT_FILE
            path.write_bytes(canonical_json(spec.model_dump(mode="json")))
            sha256 = digest_of({path.name: file_digest(path)})
            about = api.ModelOrigin(
                kind="endpoint", name=f"{spec.model} at {spec.url}", digest=sha256, endpoint=spec
            )
            self._register(row, folder, sha256, about, parameters=0)

    def _register(
        self,
        row: ModelImportRow,
        folder: Path,
        sha256: str,
        about: api.ModelOrigin,
        *,
        parameters: int,
    ) -> None:
        """Store the files, ask the model about the test image, and list it in the registry."""
        new = NewModel(
            team=row.team,
            short_name=row.name,
            sha256=sha256,
            parent=f"{about.kind}:{about.name}",
            job=row.id,
            parameters=parameters,
            origin=about.model_dump(mode="json"),
        )
        model = self.models.add(new, folder)
        try:
            self._phase(row, "asking the model about a test image")
            answer = self._ask(row.team, model)
        except ImportRefused:
            self.models.remove_hidden(model)
            raise
        self.models.reveal(model)
        self.imports.clear(row.id)
        self._end(row, READY, model=model, answer=answer, sha256=sha256)

    def _ask(self, team: str, model: str) -> str:
        """The model's answer about the test image, on the code path of all captions."""
        asked = CaptionsIn(
            model=model,
            images=[disc_image()],
            prompts=[_TEST_PROMPT],
            sampling=Sampling(max_new_tokens=_TEST_TOKENS),
            gate=Gate(attempts=1, min_words=0, max_words=100_000, max_repeats=100_000),
        )
        try:
            made = self.platform(team).caption.captions(asked).captions[0]
        except ApiError as error:
            if error.passing and error.problem.status != 503:
                raise Unreachable(str(error)) from error
            raise ImportRefused(str(error)) from error
        if made.reason in ("endpoint-refused", "prompt-too-long"):
            raise ImportRefused(made.caption)
        return made.caption

    def _phase(self, row: ModelImportRow, phase: str) -> None:
        values = {"phase": phase[:200], "lease_until": time.time() + _LEASE_SECONDS}
        with self.database.transaction() as session:
            session.execute(
                update(ModelImportRow).where(ModelImportRow.id == row.id).values(**values)
            )

    def _end(self, row: ModelImportRow, state: str, **values: str) -> None:
        values = {"phase": "", **values}
        with self.database.transaction() as session:
            session.execute(
                update(ModelImportRow)
                .where(ModelImportRow.id == row.id)
                .values(state=state, lease_until=0.0, **values)
            )


def disc_image() -> str:
    """A red disc on white, 224 x 224 pixels, as a data URL."""
    image = Image.new("RGB", (224, 224), "white")
    ImageDraw.Draw(image).ellipse((62, 62, 162, 162), fill="red")
    out = io.BytesIO()
    image.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
