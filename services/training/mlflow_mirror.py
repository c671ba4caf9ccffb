"""A copy of jobs and models in MLflow, for those who look there: optional, and never waited for.

Level-triggered: what has ended or changed and is not mirrored yet is pushed, and marked only then.
Every push can be repeated: runs are found by the job's id, versions by the model's name. It speaks
MLflow's REST API, so neither MLflow nor its dependencies are needed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import httpx2
import structlog
from sqlalchemy import select, update

from services.chassis.database import Database
from services.training.job_files import JobFiles
from services.training.queueing.seeds import ENDED
from services.training.registry import evaluations_of
from services.training.tables import JobRow, ModelRow
from vila2.api.training import Evaluation

_log = structlog.get_logger()
_AT_ONCE = 20
_METRICS = 900  # of the 1,000 entries that one request may hold
_AGAIN = 600.0  # seconds until something that MLflow refused is tried once more
_STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "cancelled": "KILLED"}


class MlflowMirror:
    """Pushes to one tracking server."""

    def __init__(
        self,
        database: Database,
        files: JobFiles,
        *,
        url: str,
        token: str = "",
    ) -> None:
        self._database, self._files = database, files
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(
            base_url=f"{url.rstrip('/')}/api/2.0/mlflow/", headers=headers, timeout=30.0
        )
        self._refused: dict[str, float] = {}

    def tick(self) -> None:
        """Push what is behind; where the server is away, the next tick goes on."""
        with self._database.transaction() as session:
            jobs = session.scalars(
                select(JobRow)
                .where(JobRow.mirrored.is_(False), JobRow.state.in_(ENDED), JobRow.children == 0)
                .order_by(JobRow.ended_at)
            ).all()
            models = session.scalars(
                select(ModelRow)
                .where(ModelRow.mirrored < ModelRow.revision)
                .order_by(ModelRow.created_at)
            ).all()
            session.expunge_all()
        waiting: list[tuple[str, Callable[[], None]]] = [
            *((job.id, lambda job=job: self._job(job)) for job in jobs),
            *((m.name, lambda m=m: self._model(m)) for m in models),
        ]
        due = [(n, push) for n, push in waiting if self._refused.get(n, 0.0) < time.time()]
        for name, push in due[:_AT_ONCE]:
            try:
                push()
            except httpx2.HTTPStatusError as error:
                self._refused[name] = time.time() + _AGAIN
                said = error.response.text[:300]
                _log.error("MLflow refused this, it is tried again later", name=name, said=said)
            except httpx2.TransportError as error:
                _log.warning("MLflow does not answer, the mirror waits", reason=str(error)[:300])
                return

    def _job(self, job: JobRow) -> None:
        run = self._run(job)
        for params in _batches(_params(job.body), 90):
            self._post("runs/log-batch", run_id=run, params=params)
        lines = self._files.metrics(job) if job.kind == "train" else []
        at = round((job.started_at or job.created_at) * 1000)
        for metrics in _batches(_metrics(lines, at), _METRICS):
            self._post("runs/log-batch", run_id=run, metrics=metrics)
        for score in (job.result or {}).get("scores", []):
            name = _key(score["benchmark"])
            self._post("runs/log-metric", run_id=run, key=name, value=score["score"], timestamp=at)
        end = round(job.ended_at * 1000)
        self._post("runs/update", run_id=run, status=_STATUS[job.state], end_time=end)
        with self._database.transaction() as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == job.id, JobRow.state == job.state)
                .values(mirrored=True)
            )

    def _run(self, job: JobRow) -> str:
        """The MLflow run of a job: found by its tag, or made."""
        experiment = self._experiment(f"vila2/{job.team}")
        found = self._post(
            "runs/search",
            experiment_ids=[experiment],
            filter=f"tags.`vila2.job` = '{job.id}'",
            max_results=1,
        )
        if found.get("runs"):
            return str(found["runs"][0]["info"]["run_id"])
        made = self._post(
            "runs/create",
            experiment_id=experiment,
            run_name=job.name,
            start_time=round((job.started_at or job.created_at) * 1000),
            tags=_tags(job=job.id, kind=job.kind, run=job.run, model=job.model, error=job.error),
        )
        return str(made["run"]["info"]["run_id"])

    def _experiment(self, name: str) -> str:
        found = self._http.get("experiments/get-by-name", params={"experiment_name": name})
        if found.status_code == 404:
            return str(self._post("experiments/create", name=name)["experiment_id"])
        return str(_checked(found)["experiment"]["experiment_id"])

    def _model(self, model: ModelRow) -> None:
        with self._database.transaction() as session:
            scores = evaluations_of(session, model.name)
        registered = f"{model.team}.{model.name.rsplit('-', 2)[0]}"
        version = self._version(registered, model)
        for tag in _tags(
            stage=model.stage, line=model.line, parent=model.parent, **_scored(scores)
        ):
            self._post("model-versions/set-tag", name=registered, version=version, **tag)
        if model.stage in ("staging", "production"):
            alias = f"{model.line}-{model.stage}"
            self._post("registered-models/alias", name=registered, alias=alias, version=version)
        with self._database.transaction() as session:
            session.execute(
                update(ModelRow)
                .where(ModelRow.name == model.name, ModelRow.mirrored < model.revision)
                .values(mirrored=model.revision)
            )

    def _version(self, registered: str, model: ModelRow) -> str:
        """The MLflow version of a model: found by its tag, or made."""
        made = self._http.post("registered-models/create", json={"name": registered})
        if made.json().get("error_code") != "RESOURCE_ALREADY_EXISTS":
            _checked(made)
        wanted: dict[str, str | int] = {"filter": f"name = '{registered}'", "max_results": 10000}
        found = _checked(self._http.get("model-versions/search", params=wanted))
        for version in found.get("model_versions", []):
            if {"key": "vila2.model", "value": model.name} in version.get("tags", []):
                return str(version["version"])
        created = self._post(
            "model-versions/create",
            name=registered,
            source=f"vila2://{model.object_prefix}",
            tags=_tags(model=model.name, sha256=model.sha256, job=model.job),
        )
        return str(created["model_version"]["version"])

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        return _checked(self._http.post(path, json=body))


def _checked(response: httpx2.Response) -> dict[str, Any]:
    response.raise_for_status()
    found: dict[str, Any] = response.json()
    return found


def _tags(**values: str) -> list[dict[str, str]]:
    return [{"key": f"vila2.{name}", "value": value[:500]} for name, value in values.items()]


def _scored(scores: Sequence[Evaluation]) -> dict[str, str]:
    newest = {_key(score.benchmark): score for score in reversed(scores)}
    return {
        f"score.{name}": f"{s.value:.4f} ({s.interval(4)}, {s.items} items)"
        for name, s in newest.items()
    }


def _params(body: Mapping[str, Any], prefix: str = "") -> Iterator[dict[str, str]]:
    """A job's body flattened; what is empty is left out."""
    for name, value in body.items():
        if isinstance(value, Mapping):
            yield from _params(value, f"{prefix}{name}.")
        elif value not in (None, "", [], {}):
            yield {"key": _key(f"{prefix}{name}"), "value": str(value)[:500]}


def _metrics(lines: Sequence[Mapping[str, Any]], at: int) -> Iterator[dict[str, Any]]:
    for line in lines:
        stage, step = str(line.get("stage", "")), int(line.get("step", 0))
        for name, value in line.items():
            if name not in ("stage", "step") and isinstance(value, int | float):
                when = at + round(1000 * float(line.get("seconds", 0.0)))
                key = _key(f"{stage}/{name}")
                yield {"key": key, "value": value, "timestamp": when, "step": step}


def _key(name: str) -> str:
    """A name as MLflow takes it: letters, digits and - _ . / space."""
    return "".join(c if c.isalnum() or c in "-_./ " else "_" for c in name)[:250]


def _batches(items: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while batch := list(islice(items, size)):
        yield batch
