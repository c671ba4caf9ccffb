"""The typed Python client: one class per service, over HTTP or in the same process.

    client = Client.connect("http://127.0.0.1:8620", key="PREFIX.SECRET")
    run = client.controller.start_run(RunIn(recipe=...))

Every failed request raises `ApiError`, which carries the service's problem document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, TypeAdapter

from vila2.api import caption as caption_api
from vila2.api import controller as controller_api
from vila2.api import datasets as datasets_api
from vila2.api import specialist as specialist_api
from vila2.api import training as training_api
from vila2.api.problem import Problem

SERVICES = ("datasets", "caption", "specialist", "training", "controller")
TIMEOUT = httpx2.Timeout(120.0, connect=10.0)

M = TypeVar("M", bound=BaseModel)


class ApiError(Exception):
    """A request that a service refused; `problem` says which field and what to do."""

    def __init__(self, problem: Problem) -> None:
        where = f" [{problem.field}]" if problem.field else ""
        fix = f". {problem.fix[0].upper()}{problem.fix[1:]}" if problem.fix else ""
        super().__init__(f"{problem.detail}{where}{fix}")
        self.problem = problem


class Unreachable(Exception):
    """Nothing answers at a service's address."""


class Rest:
    """Requests to one service."""

    def __init__(self, http: httpx2.Client, *, team: str | None = None) -> None:
        self._http = http
        self._headers = {"x-vila2-team": team} if team else {}

    def send(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request; raises `ApiError` for a refusal, `Unreachable` for silence."""
        try:
            response = self._http.request(method, f"v1/{path}", headers=self._headers, **options)
        except httpx2.TransportError as error:
            raise Unreachable(
                f"no answer from {self._http.base_url} ({error}); is `vila2 up` running?"
            ) from error
        if response.status_code < 400:
            return response
        try:
            problem = Problem.model_validate(response.json())
        except ValueError:
            problem = Problem(
                type="about:blank",
                title="Error",
                status=response.status_code,
                detail=f"{method} {path}: status {response.status_code}",
            )
        raise ApiError(problem)

    def one(self, model: type[M], method: str, path: str, **options: Any) -> M:
        """A request that answers with one model."""
        return model.model_validate(self.send(method, path, **options).json())

    def many(self, model: type[M], path: str, **options: Any) -> list[M]:
        """A request that answers with a list."""
        found: list[M] = TypeAdapter(list[model]).validate_python(  # type: ignore[valid-type]
            self.send("GET", path, **options).json()
        )
        return found


class DatasetsClient(Rest):
    """The dataset store."""

    def create(self, body: datasets_api.DatasetIn) -> datasets_api.Dataset:
        """Create a dataset, or find it."""
        return self.one(datasets_api.Dataset, "POST", "datasets", json=body.model_dump())

    def all(self) -> list[datasets_api.Dataset]:
        """All datasets of the team."""
        return self.many(datasets_api.Dataset, "datasets")

    def open_version(self, name: str, body: datasets_api.VersionIn) -> datasets_api.Version:
        """Open a version, or continue the one of the same token."""
        path = f"datasets/{name}/versions"
        return self.one(datasets_api.Version, "POST", path, json=body.model_dump())

    def put_part(self, name: str, version: int, part: int, data: bytes) -> datasets_api.Version:
        """Upload a part."""
        path = f"datasets/{name}/versions/{version}/parts/{part}"
        return self.one(datasets_api.Version, "PUT", path, content=data)

    def seal_version(self, name: str, version: int) -> datasets_api.Version:
        """Close a version and have it ingested."""
        return self.one(datasets_api.Version, "POST", f"datasets/{name}/versions/{version}/seal")

    def version(self, name: str, version: int = 0) -> datasets_api.Version:
        """A version; 0 is the newest that is ready."""
        return self.one(datasets_api.Version, "GET", f"datasets/{name}/versions/{version}")

    def shards(self, name: str, version: int = 0) -> list[datasets_api.Shard]:
        """The shards of a version."""
        return self.many(datasets_api.Shard, f"datasets/{name}/versions/{version}/shards")

    def rejected(self, name: str, version: int) -> list[datasets_api.RejectedExample]:
        """Examples of what was not admitted."""
        path = f"datasets/{name}/versions/{version}/rejected"
        return self.many(datasets_api.RejectedExample, path)

    def shard_content(self, name: str, version: int, index: int) -> bytes:
        """A shard's tar."""
        path = f"datasets/{name}/versions/{version}/shards/{index}/content"
        return self.send("GET", path).content

    def open_layer(self, body: datasets_api.LayerIn) -> datasets_api.Layer:
        """Open a caption layer."""
        return self.one(datasets_api.Layer, "POST", "layers", json=body.model_dump())

    def layers(self) -> list[datasets_api.Layer]:
        """All layers of the team."""
        return self.many(datasets_api.Layer, "layers")

    def layer(self, layer: str) -> datasets_api.Layer:
        """A layer by id or name."""
        return self.one(datasets_api.Layer, "GET", f"layers/{layer}")

    def put_layer_shard(
        self, layer: str, shard: int, body: datasets_api.LayerShardIn
    ) -> datasets_api.Layer:
        """Record a shard's captions."""
        path = f"layers/{layer}/shards/{shard}"
        return self.one(datasets_api.Layer, "PUT", path, json=body.model_dump())

    def seal_layer(self, layer: str) -> datasets_api.Layer:
        """Seal a layer."""
        return self.one(datasets_api.Layer, "POST", f"layers/{layer}/seal")

    def import_layer(self, body: datasets_api.LayerImport) -> datasets_api.Layer:
        """Turn another dataset's captions into a layer."""
        return self.one(datasets_api.Layer, "POST", "layers/import", json=body.model_dump())

    def layer_content(self, layer: str, shard: int, *, waive: bool = False) -> bytes:
        """The Parquet of one shard's captions."""
        path = f"layers/{layer}/shards/{shard}/content"
        return self.send("GET", path, params={"waive": waive}).content


class CaptionClient(Rest):
    """The caption service."""

    def start_layer(self, body: caption_api.LayerJobIn) -> caption_api.LayerJob:
        """Caption a dataset version."""
        return self.one(caption_api.LayerJob, "POST", "layers", json=body.model_dump())

    def layer_job(self, job: str) -> caption_api.LayerJob:
        """How far a layer is."""
        return self.one(caption_api.LayerJob, "GET", f"layers/{job}")

    def cancel_layer(self, job: str) -> caption_api.LayerJob:
        """Stop captioning."""
        return self.one(caption_api.LayerJob, "POST", f"layers/{job}/cancel")

    def preview(self, body: caption_api.PreviewIn) -> caption_api.Preview:
        """Caption a few samples now."""
        return self.one(caption_api.Preview, "POST", "previews", json=body.model_dump())


class SpecialistClient(Rest):
    """The specialist service."""

    def start(self, body: specialist_api.SpecialistIn) -> specialist_api.Specialist:
        """Finetune a specialist and recaption with it."""
        return self.one(specialist_api.Specialist, "POST", "specialists", json=body.model_dump())

    def get(self, specialist: str) -> specialist_api.Specialist:
        """How far a specialist is."""
        return self.one(specialist_api.Specialist, "GET", f"specialists/{specialist}")

    def cancel(self, specialist: str) -> specialist_api.Specialist:
        """Stop a specialist."""
        return self.one(specialist_api.Specialist, "POST", f"specialists/{specialist}/cancel")


class TrainingClient(Rest):
    """The training dispatcher and the model registry."""

    def submit(self, body: training_api.JobIn) -> training_api.Job:
        """Submit a job, or find the one of the same token."""
        return self.one(training_api.Job, "POST", "jobs", json=body.model_dump())

    def job(self, job: str) -> training_api.Job:
        """How far a job is."""
        return self.one(training_api.Job, "GET", f"jobs/{job}")

    def cancel(self, job: str) -> training_api.Job:
        """Stop a job."""
        return self.one(training_api.Job, "POST", f"jobs/{job}/cancel")

    def log(self, job: str) -> str:
        """What a job printed."""
        return self.send("GET", f"jobs/{job}/log").text

    def artifact(self, job: str, name: str) -> str:
        """A text file that a job left, such as outcomes.jsonl."""
        return self.send("GET", f"jobs/{job}/artifacts/{name}").text

    def model(self, name: str) -> training_api.RegisteredModel:
        """A model of the registry."""
        return self.one(training_api.RegisteredModel, "GET", f"models/{name}")

    def models(self) -> list[training_api.RegisteredModel]:
        """All models of the team."""
        return self.many(training_api.RegisteredModel, "models")


class ControllerClient(Rest):
    """The controller."""

    def start_run(self, body: controller_api.RunIn) -> controller_api.Run:
        """Start a run, or find the one of the same token."""
        return self.one(controller_api.Run, "POST", "runs", json=body.model_dump())

    def runs(self) -> list[controller_api.Run]:
        """All runs of the team."""
        return self.many(controller_api.Run, "runs")

    def run(self, run: str) -> controller_api.Run:
        """A run and its rounds."""
        return self.one(controller_api.Run, "GET", f"runs/{run}")

    def cancel_run(self, run: str) -> controller_api.Run:
        """Stop a run."""
        return self.one(controller_api.Run, "POST", f"runs/{run}/cancel")

    def events(self, run: str) -> list[controller_api.Event]:
        """What happened in a run."""
        return self.many(controller_api.Event, f"runs/{run}/events")

    def report(self, run: str) -> dict[str, Any]:
        """The figures of a run's report."""
        found: dict[str, Any] = self.send("GET", f"runs/{run}/report").json()
        return found

    def report_html(self, run: str) -> str:
        """A run's report as one page."""
        return self.send("GET", f"runs/{run}/report.html").text


class Client:
    """The five services."""

    def __init__(self, http: Callable[[str], httpx2.Client], *, team: str | None = None) -> None:
        clients = {name: http(name) for name in SERVICES}
        self._clients: Mapping[str, httpx2.Client] = clients
        self.datasets = DatasetsClient(clients["datasets"], team=team)
        self.caption = CaptionClient(clients["caption"], team=team)
        self.specialist = SpecialistClient(clients["specialist"], team=team)
        self.training = TrainingClient(clients["training"], team=team)
        self.controller = ControllerClient(clients["controller"], team=team)

    @classmethod
    def connect(cls, url: str, *, key: str) -> Client:
        """Connect to a platform at `url`, where each service lies under its own name."""
        return cls(
            lambda service: httpx2.Client(
                base_url=f"{url.rstrip('/')}/{service}/",
                headers={"authorization": f"Bearer {key}"},
                timeout=TIMEOUT,
            )
        )

    def as_team(self, team: str) -> Client:
        """The same connections, working for a team; only a service's key may."""
        return Client(lambda service: self._clients[service], team=team)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
