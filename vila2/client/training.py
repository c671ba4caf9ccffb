"""Requests to the training dispatcher and the model registry."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import RootModel

from vila2.client.http import Rest, segment
from vila2.model.digest import file_digest, folder_digest
from vila2.schemas.rest import training as api
from vila2.schemas.rest.model_imports import ModelImport, ModelIn
from vila2.system.files import file_atomically


class _Entry(RootModel[dict[str, Any]]):
    """A line of a training's metrics; its fields are defined by the trainer."""


class DownloadDiffers(Exception):
    """A downloaded file's digest differs from the registry's."""


class TrainingClient(Rest):
    """The training dispatcher and the model registry."""

    def submit(self, body: api.JobIn, token: str | None = None) -> api.Job:
        """Submit a job; the same token returns the existing job."""
        return self.create_one(api.Job, "jobs", body, token=token)

    def job(self, job: str) -> api.Job:
        """The state and progress of a job."""
        return self.one(api.Job, "GET", f"jobs/{segment(job)}")

    def jobs(
        self,
        *,
        state: str = "",
        run: str = "",
        kind: str = "",
        parent: str = "",
        page: int = 100,
    ) -> Iterator[api.Job]:
        """The team's jobs, newest first, fetched `page` by `page` as they are read."""
        given = {"state": state, "run": run, "kind": kind, "parent": parent}
        return self.each(api.Job, "jobs", params=given, page=page)

    def cancel(self, job: str) -> api.Job:
        """Cancel a job."""
        return self.one(api.Job, "POST", f"jobs/{segment(job)}/cancel")

    def retry(self, job: str) -> api.Job:
        """Queue a failed or cancelled job again."""
        return self.one(api.Job, "POST", f"jobs/{segment(job)}/retry")

    def log(self, job: str) -> str:
        """The end of a job's log."""
        return self.send("GET", f"jobs/{segment(job)}/log").text

    def log_part(self, job: str, *, offset: int | None = None, limit: int = 65536) -> api.LogPart:
        """Part of a job's log: from byte `offset` on, or its end."""
        given: dict[str, Any] = {"limit": limit}
        if offset is not None:
            given["offset"] = offset
        return self.one(api.LogPart, "GET", f"jobs/{segment(job)}/logs", params=given)

    def follow_log(self, job: str, *, poll_seconds: float = 0.5) -> Iterator[str]:
        """The end of a job's log, then new output until the job ends."""
        part = self.log_part(job)
        yield part.text
        while not (part.ended and part.next >= part.size):
            part = self.log_part(job, offset=part.next)
            if part.text:
                yield part.text
            elif not part.ended:
                time.sleep(poll_seconds)

    def metrics(self, job: str) -> list[dict[str, Any]]:
        """A training's metrics, by stage and step."""
        return [entry.root for entry in self.each(_Entry, f"jobs/{segment(job)}/metrics")]

    def artifacts(self, job: str) -> list[api.File]:
        """A job's artifacts: names and sizes in bytes."""
        return self.many(api.File, f"jobs/{segment(job)}/artifacts")

    def artifact(self, job: str, name: str) -> str:
        """A text artifact of a job, such as outcomes.jsonl."""
        return self.send("GET", f"jobs/{segment(job)}/artifacts/{segment(name)}").text

    def usage(self, by: Literal["team", "run"] = "team", *, since: float = 0.0) -> list[api.Usage]:
        """The team's resource usage."""
        return self.many(api.Usage, "usage", params={"by": by, "since": since})

    def usage_of_all(self, by: Literal["team", "run"] = "team") -> list[api.Usage]:
        """The usage of every team; requires `quotas:read`."""
        return self.many(api.Usage, "usage/teams", params={"by": by})

    def quota(self, team: str = "") -> api.Quota:
        """A team's quota; by default the caller's team."""
        return self.one(api.Quota, "GET", f"quotas/{segment(team)}" if team else "quota")

    def quotas(self) -> list[api.Quota]:
        """Every quota that was set; requires `quotas:read`."""
        return self.many(api.Quota, "quotas")

    def set_quota(self, team: str, body: api.QuotaIn) -> api.Quota:
        """Replace a team's quota; requires `quotas:write`."""
        return self.one(api.Quota, "PUT", f"quotas/{segment(team)}", json=body.model_dump())

    def add_model(self, body: ModelIn) -> ModelImport:
        """Begin to add a model; the same request returns the existing import."""
        return self.one(ModelImport, "POST", "models", json=body.model_dump(mode="json"))

    def model_import(self, import_id: str) -> ModelImport:
        """The state of a model import."""
        return self.one(ModelImport, "GET", f"model-imports/{segment(import_id)}")

    def put_model_piece(self, import_id: str, file: str, piece: int, data: bytes) -> None:
        """Upload a piece of a model's file."""
        path = f"model-imports/{segment(import_id)}/files/{segment(file)}/pieces/{piece}"
        self.send("PUT", path, content=data)

    def finish_model_import(self, import_id: str) -> ModelImport:
        """Queue an uploaded model for checking and registration."""
        return self.one(ModelImport, "POST", f"model-imports/{segment(import_id)}/finish")

    def remove_model(self, name: str) -> api.RegisteredModel:
        """Delete the files of a model that was added."""
        return self.one(api.RegisteredModel, "DELETE", f"models/{segment(name)}")

    def model(self, name: str) -> api.RegisteredModel:
        """A model of the registry."""
        return self.one(api.RegisteredModel, "GET", f"models/{segment(name)}")

    def models(self) -> list[api.RegisteredModel]:
        """All models of the team."""
        return self.many(api.RegisteredModel, "models")

    def model_details(self, name: str) -> api.ModelDetails:
        """Files, lineage, configuration and scores of a model."""
        return self.one(api.ModelDetails, "GET", f"models/{segment(name)}/details")

    def model_card(self, name: str) -> str:
        """A model's card, Markdown with a YAML header."""
        return self.send("GET", f"models/{segment(name)}/card").text

    def import_scores(self, name: str, body: api.ImportIn) -> api.Imported:
        """Store another program's scores of a model, with its outcomes."""
        path = f"models/{segment(name)}/imports"
        return self.one(api.Imported, "POST", path, json=body.model_dump(mode="json"))

    def imported_outcomes(self, name: str, imported: str) -> str:
        """The outcomes of an import, as JSON lines."""
        return self.send("GET", f"models/{segment(name)}/imports/{segment(imported)}/outcomes").text

    def serving(self, name: str) -> api.Serving:
        """Endpoints that serve a model."""
        return self.one(api.Serving, "GET", f"models/{segment(name)}/serving")

    def download_model(self, name: str, folder: Path) -> api.ModelDetails:
        """Download a model's files and its card into a folder, and verify their digests.

        Complete files are kept, so an interrupted download resumes. Raises `DownloadDiffers` if a
        digest does not match.
        """
        details = self.model_details(name)
        folder.mkdir(parents=True, exist_ok=True)
        for file in details.files:
            target = folder / Path(file.name).name
            if target.exists() and file_digest(target) == file.sha256:
                continue
            self._fetch(f"models/{segment(name)}/files/{segment(file.name)}", target)
            if file_digest(target) != file.sha256:
                target.unlink()
                raise DownloadDiffers(f"{name}: {file.name} did not arrive whole; try again")
        if folder_digest(folder) != details.sha256:
            raise DownloadDiffers(
                f"{name}: the weights in {folder} are not those that were trained (sha256 "
                f"{details.sha256[:12]}); use an empty folder"
            )
        (folder / "README.md").write_text(self.model_card(name))
        return details

    def _fetch(self, path: str, target: Path) -> None:
        with (
            file_atomically(target) as partial,
            self.stream(path) as pieces,
            partial.open("wb") as out,
        ):
            for piece in pieces:
                out.write(piece)
