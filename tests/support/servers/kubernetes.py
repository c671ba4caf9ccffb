"""A small API server with TrainJobs, which really runs their pods' commands on this machine.

It holds to what the adapter may rely on: the schema (strictly), names, uids, resource versions,
the rights of a Role, the runtimes that exist, and the conditions that Kubeflow's controller sets.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.support.servers.kubernetes_pod import Pod
from tests.support.servers.ports import free_port
from tests.support.servers.trainjob_schema import unknown_fields, wrong_values

TOKEN = "of-the-service-account"
JOBS = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/training/trainjobs"
PODS = "/api/v1/namespaces/training/pods"
_TRAINER = "trainer.kubeflow.org"


class Problem(Exception):
    """A Status object to answer with."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        }  # fmt: skip


@dataclass
class FakeKubernetes:
    """One namespace, `training`, of a cluster."""

    url: str
    rules: list[dict[str, Any]]
    runtimes: set[str]
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _version: int = 0

    def answer(self, method: str, target: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Carry out a request; raises `Problem`."""
        address = urlsplit(target)
        query = {name: values[-1] for name, values in parse_qs(address.query).items()}
        with self.lock:
            if address.path == PODS and method == "DELETE":
                self._allow("", "pods", "deletecollection")
                return self._delete_pods(query)
            prefix, _, name = address.path.partition(JOBS)
            if prefix or not address.path.startswith(JOBS):
                raise Problem(404, "NotFound", "the server could not find the requested resource")
            name = name.strip("/")
            verb = {"POST": "create", "GET": "get", "PATCH": "patch", "DELETE": "delete"}[method]
            self._allow(_TRAINER, "trainjobs", verb)
            if method == "POST":
                return self._create(body or {}, strict=query.get("fieldValidation") == "Strict")
            job = self.jobs.get(name)
            if job is None:
                raise Problem(404, "NotFound", f'trainjobs.{_TRAINER} "{name}" not found')
            if method == "PATCH":
                return self._patch(job, body or {})
            if method == "DELETE":
                return self._delete(job, body or {})
            return job

    def kill_pods(self, name: str) -> None:
        """kill -9 to all of a job, as when its nodes go down."""
        with self.lock:
            for pod in self.pods.get(name, []):
                pod.kill()

    def _allow(self, group: str, resource: str, verb: str) -> None:
        for rule in self.rules:
            if (
                group in rule["apiGroups"]
                and resource in rule["resources"]
                and verb in rule["verbs"]
            ):
                return
        raise Problem(403, "Forbidden", f"cannot {verb} resource {resource!r} in the namespace")

    def _create(self, job: dict[str, Any], *, strict: bool) -> dict[str, Any]:
        if strict and (unknown := unknown_fields("TrainJob", job)):
            words = ", ".join(f'unknown field "{path}"' for path in unknown)
            raise Problem(400, "BadRequest", f"strict decoding error: {words}")
        name = job["metadata"]["name"]
        if wrong := wrong_values("TrainJob", job):
            raise Problem(
                422, "Invalid", f'TrainJob.{_TRAINER} "{name}" is invalid: {"; ".join(wrong)}'
            )
        if job["spec"]["runtimeRef"]["name"] not in self.runtimes:
            raise Problem(
                403, "Forbidden",
                'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: '
                "spec.runtimeRef: the runtime must be created before the TrainJob",
            )  # fmt: skip
        if name in self.jobs:
            raise Problem(409, "AlreadyExists", f'trainjobs.{_TRAINER} "{name}" already exists')
        job["metadata"] |= {"uid": str(uuid.uuid4()), "generation": 1}
        job["status"] = {}
        self.jobs[name] = job
        self.created.append(json.loads(json.dumps(job)))
        self.touch(job)
        return job

    def _patch(self, job: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
        asked = patch.get("metadata", {}).get("resourceVersion")
        if asked not in (None, job["metadata"]["resourceVersion"]):
            raise Problem(409, "Conflict", "the object has been modified")
        if set(patch.get("spec", {})) - {"suspend"}:
            raise Problem(422, "Invalid", "spec: field is immutable")
        if wrong := wrong_values("TrainJob", job | {"spec": job["spec"] | patch["spec"]}):
            raise Problem(422, "Invalid", "; ".join(wrong))
        job["spec"] |= patch["spec"]
        job["metadata"]["generation"] += 1
        self.touch(job)
        return job

    def _delete(self, job: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        uid = options.get("preconditions", {}).get("uid")
        if uid not in (None, job["metadata"]["uid"]):
            raise Problem(
                409, "Conflict", "Precondition failed: UID in precondition does not match"
            )
        job["metadata"]["deletionTimestamp"] = _now()
        self.touch(job)
        return job

    def _delete_pods(self, query: dict[str, str]) -> dict[str, Any]:
        name = query["labelSelector"].removeprefix("jobset.sigs.k8s.io/jobset-name=")
        for pod in self.pods.get(name, []):
            pod.terminate(grace=float(query["gracePeriodSeconds"]))
        return {"kind": "PodList", "apiVersion": "v1", "items": []}

    def touch(self, job: dict[str, Any]) -> None:
        """Give a changed object its next version."""
        self._version += 1
        job["metadata"]["resourceVersion"] = str(self._version)

    def reconcile(self) -> None:
        """What the controllers do, once."""
        with self.lock:
            for job in list(self.jobs.values()):
                before = json.dumps(job["status"])
                self._reconcile(job)
                if json.dumps(job["status"]) != before:
                    self.touch(job)

    def _reconcile(self, job: dict[str, Any]) -> None:
        name, spec = job["metadata"]["name"], job["spec"]
        pods = self.pods.setdefault(name, [])
        codes = [pod.exit_code() for pod in pods]
        ended = any(_is_true(job, kind) for kind in ("Complete", "Failed"))
        if "deletionTimestamp" in job["metadata"] or ended or spec.get("suspend"):
            for pod in pods:
                pod.terminate()
        running = sum(code is None for code in codes)
        if "deletionTimestamp" in job["metadata"]:
            if not running:
                del self.jobs[name], self.pods[name]
            return
        if ended:
            return
        if spec.get("suspend"):
            if not running:
                pods.clear()
                _set(job, "Suspended", "True", "Suspended", "TrainJob is suspended")
        elif not pods:
            self.pods[name] = _start(job)
        elif all(code == 0 for code in codes):
            _set(job, "Complete", "True", "AllJobsCompleted", "jobset completed successfully")
        elif any(codes):
            _set(job, "Failed", "True", "FailedJobs", f"jobset failed: pods exited with {codes}")
        active = 1 if running else 0
        job["status"]["jobsStatus"] = [
            {"name": "node", "ready": active, "succeeded": 0, "failed": 0, "active": active,
             "suspended": 0}
        ]  # fmt: skip


def _start(job: dict[str, Any]) -> list[Pod]:
    trainer = job["spec"]["trainer"]
    (patch,) = job["spec"]["runtimePatches"]
    (replicated,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    grace = replicated["template"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    # As Kubeflow's torch plugin sets them.
    torch = {
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(free_port()),
    }
    given = {each["name"]: each["value"] for each in trainer["env"]}
    return [
        Pod(trainer["command"], {**given, **torch, "PET_NODE_RANK": str(rank)}, grace=grace)
        for rank in range(trainer["numNodes"])
    ]


def _set(job: dict[str, Any], kind: str, value: str, reason: str, message: str) -> None:
    conditions = job["status"].setdefault("conditions", [])
    conditions[:] = [each for each in conditions if each["type"] != kind]
    conditions.append(
        {"type": kind, "status": value, "reason": reason, "message": message,
         "lastTransitionTime": _now()}
    )  # fmt: skip


def _is_true(job: dict[str, Any], kind: str) -> bool:
    conditions = job["status"].get("conditions", [])
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextmanager
def kubernetes(deploy: Path) -> Iterator[FakeKubernetes]:
    """A cluster with the rights and the runtime of a deployment's folder."""
    role = next(
        each
        for each in yaml.safe_load_all((deploy / "rbac.yaml").read_text())
        if each["kind"] == "Role"
    )
    runtime = yaml.safe_load((deploy / "runtime.yaml").read_text())

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            code, told = 201 if self.command == "POST" else 200, {}
            try:
                if self.headers.get("authorization") != f"Bearer {TOKEN}":
                    raise Problem(401, "Unauthorized", "Unauthorized")
                told = cluster.answer(self.command, self.path, body)
            except Problem as problem:
                code, told = problem.code, problem.body
            with cluster.lock:
                data = json.dumps(told).encode()
            self.send_response(code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cluster = FakeKubernetes(
        f"http://127.0.0.1:{server.server_port}", role["rules"], {runtime["metadata"]["name"]}
    )
    ending = threading.Event()

    def control() -> None:
        while not ending.wait(0.05):
            cluster.reconcile()

    threads = [
        threading.Thread(target=work, daemon=True) for work in (server.serve_forever, control)
    ]
    for thread in threads:
        thread.start()
    try:
        yield cluster
    finally:
        ending.set()
        threads[1].join()
        server.shutdown()
        server.server_close()
        for pods in cluster.pods.values():
            for pod in pods:
                pod.kill()
