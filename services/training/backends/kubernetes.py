"""Jobs as Kubeflow TrainJobs, found again by their name, which is made of the key."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from services.chassis.crashpoint import crashpoint
from services.training.backends.backend import (
    Backend,
    BackendUnreachable,
    Command,
    Defaults,
    Phase,
    Refused,
    resources,
)
from services.training.backends.folder import (
    REFUSED,
    Started,
    clear,
    ended_phase,
    is_settled,
    read_started,
    refuse,
    status,
    submitting,
    write_started,
)
from services.training.backends.kubernetes_api import (
    AlreadyExists,
    Changed,
    Cluster,
    KubernetesApi,
)
from services.training.backends.kubernetes_manifest import (
    ATTEMPT,
    KEY,
    KubernetesOptions,
    job_name,
    train_job,
)


class KubernetesBackend(Backend):
    """Creates a TrainJob for each start; the server lets one of each name exist.

    A handle is the object's name and uid, so that it never means a later start.
    """

    def __init__(self, cluster: Cluster, options: KubernetesOptions, defaults: Defaults) -> None:
        self._api = KubernetesApi(cluster, options.namespace)
        self._options, self._defaults = options, defaults

    def check(self) -> str:
        """Asks for a TrainJob that is not there: address, token and rights are then in order."""
        self._api.get("doctor-asks-for-none")
        return f"Kubernetes answers; namespace {self._options.namespace}"

    def submit(self, key: str, command: Command) -> str:
        """Create the TrainJob, unless it exists or the folder records its end."""
        with submitting(command.folder):
            try:
                job = self._api.get(job_name(key))
                if job is not None:
                    _check_is_ours(job, key)
                held = self._last_start(job, command)
                if held is not None:
                    phase = self.observe(held.handle, command.folder)
                    if is_settled(held, command.attempt, phase):
                        return held.handle
                if job is not None:
                    self._remove(job)
                return self._create(key, command)
            except Refused as error:
                return refuse(command.folder, command.attempt, str(error))

    def _last_start(self, job: dict[str, Any] | None, command: Command) -> Started | None:
        """The newest start, from the object itself: a dispatcher may die before recording it."""
        recorded = read_started(command.folder)
        if job is None:
            return recorded
        attempt = int(job["metadata"].get("annotations", {}).get(ATTEMPT, 0))
        if recorded is not None and recorded.attempt > attempt:
            return recorded
        started = Started(_handle(job), attempt)
        if started != recorded:
            write_started(command.folder, started)
        return started

    def _create(self, key: str, command: Command) -> str:
        manifest = train_job(key, command, resources(command, self._defaults), self._options)
        clear(command.folder)
        try:
            job = self._api.create(manifest)
            crashpoint("backend.started")
        except AlreadyExists:
            # By a dispatcher that does not share this folder's lock.
            found = self._api.get(job_name(key))
            if found is None:
                raise BackendUnreachable(f"TrainJob {job_name(key)} comes and goes") from None
            _check_is_ours(found, key)
            job = found
        started = Started(_handle(job), command.attempt)
        write_started(command.folder, started)
        return started.handle

    def _remove(self, job: dict[str, Any]) -> None:
        """Delete an earlier start's object and wait until its name is free."""
        with suppress(Changed):
            self._api.delete(job)
        if not self._gone(job, seconds=10):
            raise BackendUnreachable(f"TrainJob {job['metadata']['name']} is still being deleted")

    def observe(self, handle: str, folder: Path) -> Phase:
        """State from the object's conditions, or the job's files if it ended or was deleted."""
        if handle == REFUSED:
            return "failed"
        job = self._job(handle)
        code = status(folder)
        if job is None:
            return ended_phase(code)
        true = {c["type"]: c for c in _conditions(job) if c["status"] == "True"}
        if "Complete" in true:
            return "succeeded"
        if "Failed" in true:
            words = f"{true['Failed'].get('reason', '')}: {true['Failed'].get('message', '')}"
            return _failed_phase(code, words, folder)
        if "Suspended" in true and not _active(job):
            return ended_phase(code)
        return "running"

    def stop(self, handle: str, folder: Path, *, wait: float = 20.0) -> None:
        """Suspend the job, so that its pods checkpoint and exit, then delete it."""
        deadline = time.monotonic() + wait
        while (job := self._job(handle)) is not None:
            if self.observe(handle, folder) != "running":
                if not job["spec"].get("suspend"):
                    return  # it ended by itself
                break
            if not job["spec"].get("suspend"):
                with suppress(Changed):  # read it again
                    self._api.suspend(job)
            elif time.monotonic() > deadline:
                self._api.kill_pods(job["metadata"]["name"])
                break
            time.sleep(0.1)
        if job is not None:
            with suppress(Changed):
                self._api.delete(job)
            self._gone(job, seconds=max(10.0, wait))

    def _job(self, handle: str) -> dict[str, Any] | None:
        """The object of a handle; `None` if it was deleted or another has its name."""
        name, _, uid = handle.partition("/")
        if handle == REFUSED:
            return None
        job = self._api.get(name)
        return job if job is not None and job["metadata"]["uid"] == uid else None

    def _gone(self, job: dict[str, Any], *, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._job(_handle(job)) is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def _failed_phase(code: int | None, words: str, folder: Path) -> Phase:
    """A job that Kubernetes reports failed was interrupted, unless its files record a failure."""
    if "DeadlineExceeded" not in words and ended_phase(code) == "failed":
        return "failed"
    if code is None:
        # Its pod never ran, or was killed: Kubernetes alone knows why.
        (folder / "error.txt").write_text(f"Kubernetes ended the job: {words}")
    return "interrupted"


def _check_is_ours(job: dict[str, Any], key: str) -> None:
    if job["metadata"].get("annotations", {}).get(KEY) != key:
        raise Refused(
            f"TrainJob {job['metadata']['name']} is not of this platform: delete it, or give the "
            "platform a namespace of its own (VILA2_KUBERNETES_NAMESPACE)"
        )


def _handle(job: dict[str, Any]) -> str:
    return f"{job['metadata']['name']}/{job['metadata']['uid']}"


def _conditions(job: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = job.get("status", {}).get("conditions", [])
    return found


def _active(job: dict[str, Any]) -> int:
    return sum(int(each["active"]) for each in job.get("status", {}).get("jobsStatus", []))
