"""Where training jobs run, from environment variables.

VILA2_TRAINING_BACKEND             local (default), slurm or kubernetes
VILA2_TRAINING_ACCELERATOR         cpu (default) or gpu: what a process takes that does not say
VILA2_TRAINING_PROCESSES_PER_NODE  a job of more processes gets several nodes (0: always one)
VILA2_TRAINING_MEMORY              MiB a process (0: the cluster's default)
VILA2_TRAINING_SECONDS             time limit of a start; it is asked to checkpoint
VILA2_TRAINING_NOTICE              that many seconds before (default 120)
VILA2_TRAINING_MAX_CPUS            processes times threads that a job may ask for (default: the
                                   cores of this machine, at least 2; on a cluster 4096)

VILA2_SLURM_PARTITION, _ACCOUNT, _QOS, _CONSTRAINT   as sbatch has them
VILA2_SLURM_PYTHON                 the interpreter on the nodes (default: this one)
VILA2_SLURM_SETUP                  shell lines before a job, such as `module load cuda`

VILA2_KUBERNETES_IMAGE             an image with this platform's `train` extra
VILA2_KUBERNETES_CLAIM             the volume claim that holds the workspace
VILA2_KUBERNETES_NAMESPACE         default `default`
VILA2_KUBERNETES_MOUNT             where the claim is mounted (default: the workspace's path)
VILA2_KUBERNETES_RUNTIME           default `vila2-torch`, of kind VILA2_KUBERNETES_RUNTIME_KIND
VILA2_KUBERNETES_GRACE             seconds a pod has to checkpoint (default 60)
VILA2_KUBERNETES_URL, _TOKEN_FILE, _CA_FILE          outside the cluster
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.training.backends.backend import Accelerator, Backend, Defaults
from vila2.system.processes import usable_cores


class BackendMissing(RuntimeError):
    """The configured backend cannot be used on this machine; the message names the fix."""


class TrainingSettings(BaseSettings):
    """Settings of the training service's execution backend."""

    model_config = SettingsConfigDict(env_prefix="VILA2_")

    training_backend: Literal["local", "slurm", "kubernetes"] = "local"
    training_accelerator: Accelerator = "cpu"
    training_processes_per_node: int = Field(0, ge=0)
    training_memory: int = Field(0, ge=0)
    training_seconds: int = Field(0, ge=0)
    training_notice: int = Field(120, ge=1)
    training_max_cpus: int = Field(0, ge=0)
    slurm_partition: str = ""
    slurm_account: str = ""
    slurm_qos: str = ""
    slurm_constraint: str = ""
    slurm_python: str = sys.executable
    slurm_setup: str = ""
    slurm_poll: float = Field(1.0, gt=0)
    kubernetes_image: str = ""
    kubernetes_claim: str = ""
    kubernetes_namespace: str = "default"
    kubernetes_mount: str = ""
    kubernetes_runtime: str = "vila2-torch"
    kubernetes_runtime_kind: Literal["TrainingRuntime", "ClusterTrainingRuntime"] = (
        "TrainingRuntime"
    )
    kubernetes_service_account: str = ""
    kubernetes_grace: int = Field(60, ge=1)
    kubernetes_url: str = ""
    kubernetes_token_file: Path | None = None
    kubernetes_ca_file: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> TrainingSettings:
        if 0 < self.training_seconds <= self.training_notice:
            raise ValueError(
                f"VILA2_TRAINING_SECONDS={self.training_seconds} leaves no time before the notice "
                f"of {self.training_notice} seconds: raise it, or lower VILA2_TRAINING_NOTICE"
            )
        if self.training_backend == "local" and self.training_processes_per_node:
            raise ValueError(
                "VILA2_TRAINING_PROCESSES_PER_NODE means nothing to the local backend, which has "
                "one node: unset it, or set VILA2_TRAINING_BACKEND"
            )
        if self.training_backend == "kubernetes":
            for name in ("kubernetes_image", "kubernetes_claim"):
                if not getattr(self, name):
                    raise ValueError(
                        f"VILA2_{name.upper()} is needed by VILA2_TRAINING_BACKEND=kubernetes: see "
                        "deploy/k8s/README.md"
                    )
            if self.kubernetes_url and self.kubernetes_token_file is None:
                raise ValueError("VILA2_KUBERNETES_URL needs VILA2_KUBERNETES_TOKEN_FILE beside it")
        return self

    @property
    def defaults(self) -> Defaults:
        """Resources of jobs that do not specify their own."""
        return Defaults(
            processes_per_node=self.training_processes_per_node,
            accelerator=self.training_accelerator,
            memory=self.training_memory,
            seconds=self.training_seconds,
            notice=self.training_notice,
        )

    @property
    def max_cpus(self) -> int:
        """Processes times threads that a job may ask for."""
        if self.training_max_cpus:
            return self.training_max_cpus
        # Two also on one core, where a training of two processes is slow but works.
        return max(2, usable_cores()) if self.training_backend == "local" else 4096

    @property
    def jobs_outlive_the_service(self) -> bool:
        """Whether an orderly stop leaves the jobs running, as they do not run on this machine."""
        return self.training_backend != "local"

    def backend(self, workspace: Path) -> Backend:
        """The execution backend; raises `BackendMissing` if this machine cannot reach it."""
        if self.training_backend == "slurm":
            return self._slurm()
        if self.training_backend == "kubernetes":
            return self._kubernetes(workspace)
        from services.training.backends.local import LocalBackend

        return LocalBackend(self.defaults)

    def _slurm(self) -> Backend:
        from services.training.backends.slurm import SlurmBackend
        from services.training.backends.slurm_script import SlurmOptions

        absent = [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]
        if absent:
            raise BackendMissing(
                f"VILA2_TRAINING_BACKEND=slurm needs {', '.join(absent)} on the PATH: install "
                "Slurm's client commands here (Debian: slurm-client), or use the local backend"
            )
        options = SlurmOptions(
            python=self.slurm_python,
            partition=self.slurm_partition,
            account=self.slurm_account,
            qos=self.slurm_qos,
            constraint=self.slurm_constraint,
            setup=self.slurm_setup,
        )
        return SlurmBackend(options, self.defaults, poll=self.slurm_poll)

    def _kubernetes(self, workspace: Path) -> Backend:
        from services.training.backends.kubernetes import KubernetesBackend
        from services.training.backends.kubernetes_api import Cluster
        from services.training.backends.kubernetes_manifest import KubernetesOptions

        cluster = Cluster.of_this_pod()
        if self.kubernetes_url:
            cluster = Cluster(
                self.kubernetes_url, self.kubernetes_token_file, self.kubernetes_ca_file
            )
        if cluster is None:
            raise BackendMissing(
                "VILA2_TRAINING_BACKEND=kubernetes finds no cluster: this is not a pod with a "
                "service account, so set VILA2_KUBERNETES_URL and VILA2_KUBERNETES_TOKEN_FILE"
            )
        options = KubernetesOptions(
            namespace=self.kubernetes_namespace,
            image=self.kubernetes_image,
            claim=self.kubernetes_claim,
            mount=self.kubernetes_mount or str(workspace),
            runtime=self.kubernetes_runtime,
            runtime_kind=self.kubernetes_runtime_kind,
            service_account=self.kubernetes_service_account,
            grace=self.kubernetes_grace,
        )
        return KubernetesBackend(cluster, options, self.defaults)
