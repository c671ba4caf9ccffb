"""A job as a Kubeflow Trainer `TrainJob` (trainer.kubeflow.org/v1alpha1), of a command alone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from services.training.backends.backend import Command, Resources

API_VERSION = "trainer.kubeflow.org/v1alpha1"
ATTEMPT, KEY = "training.vila2/attempt", "training.vila2/key"
MANAGER = "training.vila2/dispatcher"
LABELS = {"app.kubernetes.io/managed-by": "vila2-training"}
# The trainer's container and replicated job, named so by every Kubeflow runtime for torch.
NODE = "node"
_VOLUME = "vila2-workspace"
_LONGEST = 40  # of a pod's name, which adds a job, two indexes and a suffix, 63 are allowed


@dataclass(frozen=True, slots=True)
class KubernetesOptions:
    """Where jobs run. `claim` is the volume that holds the workspace, mounted at `mount`: the same
    path as here. `grace` is how many seconds a pod has to checkpoint when it is asked to exit.
    """

    namespace: str
    image: str
    claim: str
    mount: str
    runtime: str = "vila2-torch"
    runtime_kind: str = "TrainingRuntime"
    python: str = "python"
    service_account: str = ""
    grace: int = 60


def job_name(key: str) -> str:
    """A DNS label (RFC 1035) for a key; keys that differ have names that differ."""
    label = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")
    if label == key and label[:1].isalpha() and len(label) <= _LONGEST:
        return label
    digest = hashlib.sha256(key.encode()).hexdigest()[:10]
    return f"job-{label[: _LONGEST - 15]}".rstrip("-") + f"-{digest}"


def train_job(
    key: str, command: Command, needs: Resources, options: KubernetesOptions
) -> dict[str, Any]:
    """The object to create. Each node runs the supervisor, which writes status and log."""
    spec: dict[str, Any] = {
        "runtimeRef": {
            "apiGroup": "trainer.kubeflow.org",
            "kind": options.runtime_kind,
            "name": options.runtime,
        },
        "suspend": False,
        "trainer": {
            "image": options.image,
            "command": _supervise(command, needs, options),
            "env": [
                {"name": "OMP_NUM_THREADS", "value": str(command.threads)},
                {"name": "TOKENIZERS_PARALLELISM", "value": "false"},
                {"name": "HF_HUB_OFFLINE", "value": "1"},
            ],
            "numNodes": needs.nodes,
            "numProcPerNode": needs.processes,
            "resourcesPerNode": _resources(needs),
        },
        "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": _patch(options)}],
    }
    if needs.seconds:
        spec["activeDeadlineSeconds"] = needs.seconds
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainJob",
        "metadata": {
            "name": job_name(key),
            "namespace": options.namespace,
            "labels": dict(LABELS),
            "annotations": {KEY: key, ATTEMPT: str(command.attempt)},
        },
        "spec": spec,
    }


def _supervise(command: Command, needs: Resources, options: KubernetesOptions) -> list[str]:
    return [
        options.python, "-m", "services.training.backends.supervise",
        str(command.folder), command.module, "--spec", str(command.spec),
        f"--processes={needs.processes}", f"--nodes={needs.nodes}", "--log",
        f"--seconds={needs.seconds}", f"--notice={needs.notice}",
    ]  # fmt: skip


def _resources(needs: Resources) -> dict[str, dict[str, str]]:
    held = {"cpu": str(needs.cpus)}
    if needs.memory:
        held["memory"] = f"{needs.memory}Mi"
    if needs.gpus:
        held["nvidia.com/gpu"] = str(needs.gpus)
    # GPUs and memory are never shared; CPUs may be borrowed while they idle.
    limits = {name: value for name, value in held.items() if name != "cpu"}
    return {"requests": held, "limits": limits} if limits else {"requests": held}


def _patch(options: KubernetesOptions) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": options.grace,
        "volumes": [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": options.claim}}],
        "containers": [
            {"name": NODE, "volumeMounts": [{"name": _VOLUME, "mountPath": options.mount}]}
        ],
    }
    if options.service_account:
        pod["serviceAccountName"] = options.service_account
    job = {"name": NODE, "template": {"spec": {"template": {"spec": pod}}}}
    return {"template": {"spec": {"replicatedJobs": [job]}}}
