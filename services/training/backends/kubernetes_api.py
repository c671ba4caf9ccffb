"""The few calls to a Kubernetes API server that TrainJobs take, over REST.

Inside a cluster the address, the token and the authority are those of the pod's service account.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from services.training.backends.backend import BackendUnreachable, Refused

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AlreadyExists(Exception):
    """There is an object of this name."""


class Changed(Exception):
    """The object is not the one that was read: another of its name, or a newer version."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """How to reach an API server; `token_file` is read for each call, since tokens are renewed."""

    url: str
    token_file: Path | None
    ca_file: Path | None

    @staticmethod
    def of_this_pod() -> Cluster | None:
        """The cluster that this process runs in, if it does."""
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
        if not host or not (SERVICE_ACCOUNT / "token").exists():
            return None
        host = f"[{host}]" if ":" in host else host
        url = f"https://{host}:{port or 443}"
        return Cluster(url, SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt")


class KubernetesApi:
    """TrainJobs and pods of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._jobs = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs"
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        verify: ssl.SSLContext | bool = True
        if cluster.ca_file is not None:
            verify = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._client = httpx2.Client(base_url=cluster.url, timeout=30, verify=verify)

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create a TrainJob; `AlreadyExists`, or `Refused` in the server's words."""
        # Strict: a field that this server's version does not know is an error, not dropped.
        made = self._ask("POST", self._jobs, query={"fieldValidation": "Strict"}, body=manifest)
        assert made is not None
        return made

    def get(self, name: str) -> dict[str, Any] | None:
        """A TrainJob, or `None`."""
        return self._ask("GET", f"{self._jobs}/{name}")

    def suspend(self, job: dict[str, Any]) -> None:
        """Suspend a TrainJob; `Changed` if it was modified since it was read."""
        body = {
            "metadata": {"resourceVersion": job["metadata"]["resourceVersion"]},
            "spec": {"suspend": True},
        }
        self._ask("PATCH", f"{self._jobs}/{job['metadata']['name']}", body=body)

    def delete(self, job: dict[str, Any]) -> None:
        """Delete this TrainJob after its pods; `Changed` if another has its name by now."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": job["metadata"]["uid"]},
        }
        self._ask("DELETE", f"{self._jobs}/{job['metadata']['name']}", body=body)

    def kill_pods(self, name: str) -> None:
        """End a TrainJob's pods without grace."""
        query = {
            "labelSelector": f"jobset.sigs.k8s.io/jobset-name={name}",
            "gracePeriodSeconds": "0",
        }
        self._ask("DELETE", self._pods, query=query)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any] | None:
        headers = {"accept": "application/json"}
        if method == "PATCH":
            headers["content-type"] = "application/merge-patch+json"
        if self._cluster.token_file is not None:
            headers["authorization"] = f"Bearer {self._cluster.token_file.read_text().strip()}"
        try:
            answer = self._client.request(method, path, params=query, json=body, headers=headers)
        except httpx2.TransportError as error:
            raise BackendUnreachable(f"{self._cluster.url} does not answer: {error}") from error
        if answer.is_success:
            told: dict[str, Any] = answer.json()
            return told
        _failed(method, path, answer)
        return None


def _failed(method: str, path: str, answer: httpx2.Response) -> None:
    """Raise the error that a Status object describes; return if there is no such job."""
    try:
        told = answer.json()
        reason, words = str(told.get("reason", "")), str(told.get("message", ""))
    except ValueError:
        reason, words = "", answer.text[:300]
    code = answer.status_code
    if code == 404 and method != "POST":
        return
    if code == 409:
        raise AlreadyExists(words) if reason == "AlreadyExists" else Changed(words)
    # A webhook's refusal comes as 403, like that of a right.
    if code in (400, 422) or (code == 403 and "denied the request" in words):
        raise Refused(f"Kubernetes refuses the job: {words}")
    # The remaining errors must be fixed in the cluster; the job waits.
    fix = {
        401: "the token is not valid: see VILA2_KUBERNETES_TOKEN_FILE",
        403: "the service account may not do this: apply deploy/k8s/overlays/kubeflow/rbac.yaml",
        404: "install Kubeflow Trainer 2.3 or newer, and check VILA2_KUBERNETES_NAMESPACE",
    }.get(code, "")
    raise BackendUnreachable(
        f"{method} {path} was answered with {code} {words}" + (f" ({fix})" if fix else "")
    )
