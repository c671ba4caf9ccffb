"""The typed Python client: one class per service, over HTTP or in the same process.

    client = Client.connect("http://127.0.0.1:8620", key="PREFIX.SECRET")
    run = client.controller.start_run(RunIn(recipe=...))

Every failed request raises `ApiError`, which carries the service's problem document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2

from vila2.client.controller import ControllerClient
from vila2.client.datasets import DatasetsClient
from vila2.client.http import SLOW, TIMEOUT, ApiError, Rest, Unreachable, http_client, segment
from vila2.client.identity import IdentityClient
from vila2.client.training import TrainingClient
from vila2.schemas.rest import caption as caption_api
from vila2.schemas.rest import specialist as specialist_api

__all__ = ["SERVICES", "TIMEOUT", "ApiError", "Client", "Unreachable"]

SERVICES = ("datasets", "caption", "specialist", "training", "controller")


class CaptionClient(Rest):
    """The caption service."""

    def start_job(
        self, body: caption_api.CaptionJobIn, token: str | None = None
    ) -> caption_api.CaptionJob:
        """Caption a dataset version; the same token returns the existing job."""
        return self.create_one(caption_api.CaptionJob, "jobs", body, token=token)

    def jobs(self, *, page: int = 100) -> Iterator[caption_api.CaptionJob]:
        """The team's caption jobs, newest first, fetched `page` by `page` as they are read."""
        return self.each(caption_api.CaptionJob, "jobs", page=page)

    def job(self, job: str) -> caption_api.CaptionJob:
        """The state and progress of a caption job."""
        return self.one(caption_api.CaptionJob, "GET", f"jobs/{segment(job)}")

    def job_request(self, job: str) -> caption_api.CaptionJobIn:
        """The request that started a caption job."""
        return self.one(caption_api.CaptionJobIn, "GET", f"jobs/{segment(job)}/request")

    def cancel_job(self, job: str) -> caption_api.CaptionJob:
        """Cancel a caption job."""
        return self.one(caption_api.CaptionJob, "POST", f"jobs/{segment(job)}/cancel")

    def pause_job(self, job: str) -> caption_api.CaptionJob:
        """Pause a caption job: no further shards are started."""
        return self.one(caption_api.CaptionJob, "POST", f"jobs/{segment(job)}/pause")

    def resume_job(self, job: str, *, budget: float | None = None) -> caption_api.CaptionJob:
        """Resume a paused caption job, with a new budget if one is given."""
        body = caption_api.ResumeIn(budget=budget).model_dump()
        return self.one(caption_api.CaptionJob, "POST", f"jobs/{segment(job)}/resume", json=body)

    def retry_failed(self, job: str) -> caption_api.CaptionJob:
        """Retry the failed shards."""
        return self.one(caption_api.CaptionJob, "POST", f"jobs/{segment(job)}/retry-failed")

    def failures(self, job: str, *, reason: str = "", first: int = 0) -> caption_api.Failures:
        """The failures of a caption job."""
        given: dict[str, Any] = {"reason": reason, "first": first}
        return self.one(caption_api.Failures, "GET", f"jobs/{segment(job)}/failures", params=given)

    def quota(self, team: str = "") -> caption_api.ImageQuota:
        """A team's image quota for today; by default the caller's team."""
        path = f"quotas/{team}" if team else "quota"
        return self.one(caption_api.ImageQuota, "GET", path)

    def captions(self, body: caption_api.CaptionsIn) -> caption_api.Preview:
        """Caption images and return the captions directly."""
        return self.one(
            caption_api.Preview, "POST", "captions", json=body.model_dump(), timeout=SLOW
        )

    def deploy(self, endpoint: str, body: caption_api.DeploymentIn) -> caption_api.Deployment:
        """Put a model behind an endpoint."""
        path = f"endpoints/{segment(endpoint)}/deployments"
        return self.one(caption_api.Deployment, "POST", path, json=body.model_dump())

    def rollback(self, endpoint: str) -> caption_api.Deployment:
        """Restore the endpoint's previous model."""
        return self.one(caption_api.Deployment, "POST", f"endpoints/{segment(endpoint)}/rollback")

    def deployment(self, deployment: str) -> caption_api.Deployment:
        """The state of a deployment."""
        return self.one(caption_api.Deployment, "GET", f"deployments/{segment(deployment)}")

    def endpoint(self, name: str) -> caption_api.Endpoint:
        """The model behind an endpoint, and its deployments."""
        return self.one(caption_api.Endpoint, "GET", f"endpoints/{segment(name)}")

    def endpoints(self) -> list[caption_api.Endpoint]:
        """All endpoints of the team."""
        return self.many(caption_api.Endpoint, "endpoints")

    def preview(self, body: caption_api.PreviewIn) -> caption_api.Preview:
        """Caption a few samples without making a layer."""
        return self.one(
            caption_api.Preview, "POST", "previews", json=body.model_dump(), timeout=SLOW
        )

    def estimate(self, body: caption_api.PreviewIn) -> caption_api.Estimate:
        """Estimate the cost of captioning a whole version from a few of its samples."""
        return self.one(
            caption_api.Estimate, "POST", "estimates", json=body.model_dump(), timeout=SLOW
        )


class SpecialistClient(Rest):
    """The specialist service."""

    def start(
        self, body: specialist_api.SpecialistIn, token: str | None = None
    ) -> specialist_api.Specialist:
        """Finetune a specialist and recaption with it; the same token returns the existing one."""
        return self.create_one(specialist_api.Specialist, "specialists", body, token=token)

    def get(self, specialist: str) -> specialist_api.Specialist:
        """The state and progress of a specialist."""
        return self.one(specialist_api.Specialist, "GET", f"specialists/{segment(specialist)}")

    def cancel(self, specialist: str) -> specialist_api.Specialist:
        """Stop a specialist."""
        return self.one(
            specialist_api.Specialist, "POST", f"specialists/{segment(specialist)}/cancel"
        )


def addresses(url: str) -> dict[str, str]:
    """The base URL of each service, without a trailing slash.

    A single address serves each service below its name. In `http://{service}:8620` the placeholder
    is replaced by each service's name. `datasets=http://a:1,caption=http://b:2,...` lists all five.
    Raises `ValueError` if one is missing or is not an HTTP address.
    """
    if "=http" not in url:
        each = url if "{service}" in url else f"{url.rstrip('/')}/{{service}}"
        return {name: _checked(each.replace("{service}", name)) for name in SERVICES}
    given = {name: at for name, _, at in (part.strip().partition("=") for part in url.split(","))}
    missing = [name for name in SERVICES if name not in given]
    if missing:
        raise ValueError(f"no address of {', '.join(missing)}: list all of {', '.join(SERVICES)}")
    return {name: _checked(given[name]) for name in SERVICES}


def _checked(url: str) -> str:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"{url!r} is no address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} does not begin with http:// or https:// and a host")
    return url.rstrip("/")


class Client:
    """Clients of the five services; `identity` is served by the controller."""

    def __init__(self, http: Callable[[str], httpx2.Client], *, team: str | None = None) -> None:
        clients = {name: http(name) for name in SERVICES}
        self._clients: Mapping[str, httpx2.Client] = clients
        self.datasets = DatasetsClient(clients["datasets"], team=team)
        self.caption = CaptionClient(clients["caption"], team=team)
        self.specialist = SpecialistClient(clients["specialist"], team=team)
        self.training = TrainingClient(clients["training"], team=team)
        self.controller = ControllerClient(clients["controller"], team=team)
        self.identity = IdentityClient(clients["controller"], team=team)

    @classmethod
    def connect(cls, url: str, *, key: str) -> Client:
        """Connect to a platform at `url`: see `addresses`."""
        each = addresses(url)
        return cls(
            lambda service: http_client(
                f"{each[service]}/", headers={"authorization": f"Bearer {key}"}, timeout=TIMEOUT
            )
        )

    def as_team(self, team: str) -> Client:
        """A client on the same connections that acts for a team; requires a service's key."""
        return Client(lambda service: self._clients[service], team=team)

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
