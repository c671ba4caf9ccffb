"""The mirror in MLflow, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from services.training.mlflow_mirror import MlflowMirror
from services.training.tables import JobRow, ModelRow
from tests.servers.mlflow import mlflow_server
from tests.training_service.a_service import Service
from tests.training_service.test_model_registry import SCORES


class Mlflow:
    """What is in the server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx2.Client(base_url=f"{url}/api/2.0/mlflow/")

    def runs(self, job: str) -> list[dict[str, Any]]:
        named = {"experiment_name": "vila2/local"}
        experiment = self._http.get("experiments/get-by-name", params=named).json()["experiment"]
        body = {
            "experiment_ids": [experiment["experiment_id"]],
            "filter": f"tags.`vila2.job` = '{job}'",
        }
        return list(self._http.post("runs/search", json=body).json().get("runs", []))

    def history(self, run: dict[str, Any], key: str) -> list[tuple[int, float]]:
        asked = {"run_id": run["info"]["run_id"], "metric_key": key}
        found = self._http.get("metrics/get-history", params=asked).json()
        return [(metric["step"], metric["value"]) for metric in found["metrics"]]

    def versions(self, name: str) -> list[dict[str, Any]]:
        given = {"filter": f"name = '{name}'"}
        found = self._http.get("model-versions/search", params=given).json()
        return list(found.get("model_versions", []))

    def alias(self, name: str, alias: str) -> str:
        given = {"name": name, "alias": alias}
        found = self._http.get("registered-models/alias", params=given).json()
        return str(found["model_version"]["version"])


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
        yield Mlflow(url)


def mirror(service: Service, url: str) -> MlflowMirror:
    return MlflowMirror(service.context._database, service.jobs.files, url=url)


def behind(service: Service) -> int:
    """How many jobs and models are not mirrored."""
    with service.context._database.transaction() as session:
        jobs = session.query(JobRow).filter(JobRow.mirrored.is_(False)).count()
        return jobs + session.query(ModelRow).filter(ModelRow.mirrored < ModelRow.revision).count()


def a_training(service: Service, *, steps: int = 3) -> str:
    job = service.submit("succeed", run="run-7")
    service.jobs.folder(job).mkdir(parents=True)
    lines = [
        {"stage": "sft", "step": 10 * n, "loss": 1 / n, "seconds": float(n)}
        for n in range(1, steps + 1)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (service.jobs.folder(job) / "metrics.jsonl").write_text(text)
    service.until(job, "succeeded")
    return job


def test_jobs_and_models_are_mirrored_once_however_often(service: Service, mlflow: Mlflow) -> None:
    """With parameters, the history of the loss, lineage tags and scores."""
    job = a_training(service)
    model = service.job(job).model
    service.context.registry.record_evaluations(
        "local", model, job="job-9", version="s@1", scores=SCORES
    )
    for _ in range(2):
        mirror(service, mlflow.url).tick()
        assert behind(service) == 0
        with service.context._database.transaction() as session:
            session.query(JobRow).update({"mirrored": False})
            session.query(ModelRow).update({"mirrored": 0})
    (run,) = mlflow.runs(job)
    assert run["info"]["status"] == "FINISHED"
    assert {"key": "train.preset", "value": "succeed"} in run["data"]["params"]
    assert {"key": "vila2.run", "value": "run-7"} in run["data"]["tags"]
    assert set(mlflow.history(run, "sft/loss")) == {(10, 1.0), (20, 0.5), (30, 1 / 3)}
    (version,) = mlflow.versions("local.succeed")
    tags = {tag["key"]: tag["value"] for tag in version["tags"]}
    assert (tags["vila2.model"], tags["vila2.stage"]) == (model, "candidate")
    assert tags["vila2.score.scenes"].startswith("0.5000 (0.4000 to 0.6000")


def test_what_changes_later_is_mirrored_too(service: Service, mlflow: Mlflow) -> None:
    """A stage becomes an alias of the version."""
    model = service.job(a_training(service)).model
    mirror(service, mlflow.url).tick()
    with service.context._database.transaction() as session:
        row = session.get_one(ModelRow, model)
        row.stage, row.line, row.revision = "production", "default", row.revision + 1
    mirror(service, mlflow.url).tick()
    assert behind(service) == 0
    ours = {tag["value"]: v["version"] for v in mlflow.versions("local.succeed")
            for tag in v["tags"] if tag["key"] == "vila2.model"}  # fmt: skip
    assert mlflow.alias("local.succeed", "default-production") == ours[model]


def test_a_long_history_goes_in_several_requests(service: Service, mlflow: Mlflow) -> None:
    job = a_training(service, steps=1200)
    mirror(service, mlflow.url).tick()
    (run,) = mlflow.runs(job)
    assert run["data"]["metrics"]
    assert behind(service) == 0


def test_a_server_that_is_away_only_leaves_things_to_be_mirrored(
    service: Service, tmp_path: Path
) -> None:
    """The platform does not notice; the next tick would go on."""
    a_training(service)
    mirror(service, "http://127.0.0.1:9").tick()
    assert behind(service) == 2
