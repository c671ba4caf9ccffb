"""Write this folder's manifests: what the processes have in common is said once, here.

    python deploy/k8s/platform/generate.py

A test holds the files to this program, and both to the API's schemas.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
SERVICES = ("datasets", "caption", "specialist", "training", "controller")
Manifest = dict[str, Any]

_POD_SECURITY = {
    "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 10001, "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}  # fmt: skip
_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_FROM = [{"configMapRef": {"name": "vila2"}}, {"secretRef": {"name": "vila2"}}]


def manifests() -> dict[str, list[Manifest]]:
    """File name -> its documents."""
    return {
        "workspace.yaml": [_claim()],
        "prepare.yaml": [_prepare()],
        **{f"{name}.yaml": [_deployment(name), _service(name)] for name in SERVICES},
        "caption-worker.yaml": [_worker(), _scaler()],
        "triton.yaml": [_triton(), _service("triton", grpc=8001, metrics=8002)],
        "budgets.yaml": [_budget(name) for name in (*SERVICES, "caption-worker", "triton")],
        "network.yaml": _network(),
    }


def kustomization() -> Manifest:
    """What `kubectl apply -k` reads."""
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "vila2",
        "labels": [{"pairs": {"app.kubernetes.io/part-of": "vila2"}}],
        "configMapGenerator": [{"name": "vila2", "envs": ["settings.env"]}],
        "resources": sorted(manifests()),
    }


def _claim() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "workspace"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "200Gi"}},
        },
    }


def _labels(name: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name}


def _container(name: str, *, cpu: str, memory: str, **more: Any) -> Manifest:
    return {
        "name": name,
        "image": f"vila2/{name}",
        "envFrom": _FROM,
        "securityContext": _SECURITY,
        "volumeMounts": [
            {"name": "workspace", "mountPath": "/var/lib/vila2"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
        "resources": {
            "requests": {"cpu": "250m", "memory": "512Mi"},
            "limits": {"cpu": cpu, "memory": memory},
        },
        **more,
    }


def _pod(container: Manifest, **more: Any) -> Manifest:
    return {
        "automountServiceAccountToken": False,
        "securityContext": _POD_SECURITY,
        "terminationGracePeriodSeconds": 60,
        "containers": [container],
        "volumes": [
            {"name": "workspace", "persistentVolumeClaim": {"claimName": "workspace"}},
            {"name": "tmp", "emptyDir": {}},
        ],
        **more,
    }


def _http(path: str, port: int) -> Manifest:
    return {"httpGet": {"path": path, "port": port}}


def _probes(path: str, port: int) -> Manifest:
    return {
        "startupProbe": {**_http(path, port), "periodSeconds": 3, "failureThreshold": 40},
        "readinessProbe": {**_http(path, port), "periodSeconds": 5},
        "livenessProbe": {**_http(path, port), "periodSeconds": 15, "failureThreshold": 4},
    }


def _of(name: str, pod: Manifest, *, replicas: int | None, metrics: int) -> Manifest:
    spec: Manifest = {
        "selector": {"matchLabels": _labels(name)},
        "template": {
            "metadata": {
                "labels": _labels(name),
                "annotations": {
                    "prometheus.io/scrape": "true",
                    "prometheus.io/port": str(metrics),
                },
            },
            "spec": pod,
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": spec,
    }


def _deployment(name: str) -> Manifest:
    """Two controllers, of which one leads; two of what keeps no state of its own."""
    container = _container(
        name, cpu="2", memory="8Gi" if name == "training" else "2Gi",
        ports=[{"name": "http", "containerPort": 8620}], **_probes("/healthz", 8620),
    )  # fmt: skip
    pod = _pod(container)
    if name == "training":
        # It makes TrainJobs, by the account of ../training; its local jobs end with it.
        pod |= {"serviceAccountName": "vila2-training", "automountServiceAccountToken": True}
    replicas = 1 if name == "training" else 2
    return _of(name, pod, replicas=replicas, metrics=8620)


def _service(name: str, **ports: int) -> Manifest:
    named = ports or {"http": 8620}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            "selector": _labels(name),
            "ports": [{"name": key, "port": port} for key, port in named.items()],
        },
    }


def _prepare() -> Manifest:
    pod = _pod(_container("prepare", cpu="1", memory="2Gi"), restartPolicy="OnFailure")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "prepare", "labels": _labels("prepare")},
        "spec": {
            "backoffLimit": 20,
            "template": {"metadata": {"labels": _labels("prepare")}, "spec": pod},
        },
    }


def _worker() -> Manifest:
    container = _container(
        "caption-worker", cpu="4", memory="4Gi",
        ports=[{"name": "metrics", "containerPort": 9100}], **_probes("/metrics", 9100),
    )  # fmt: skip
    # The scaler says how many.
    return _of("caption-worker", _pod(container), replicas=None, metrics=9100)


def _scaler() -> Manifest:
    """More workers while the oldest shard has waited for more than a minute."""
    metric = {
        "name": "vila2_queue_oldest_seconds",
        "selector": {"matchLabels": {"service": "caption"}},
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "caption-worker"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "caption-worker",
            },
            "minReplicas": 1,
            "maxReplicas": 16,
            "metrics": [{
                "type": "External",
                "external": {"metric": metric, "target": {"type": "Value", "value": "60"}},
            }],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        },
    }  # fmt: skip


def _triton() -> Manifest:
    container = _container(
        "triton", cpu="8", memory="16Gi",
        args=["s3://https://s3.example.org:443/vila2/serving"],
        ports=[{"name": "http", "containerPort": 8000}, {"name": "grpc", "containerPort": 8001},
               {"name": "metrics", "containerPort": 8002}],
        **_probes("/v2/health/ready", 8000),
    )  # fmt: skip
    pod = _pod(container)
    container["volumeMounts"].append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    pod["volumes"].append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
    return _of("triton", pod, replicas=1, metrics=8002)


def _budget(name: str) -> Manifest:
    """At most one of them is taken away at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels(name)}},
    }


def _network() -> list[Manifest]:
    """Nobody from outside reaches a pod but by the services' port; workers, by nothing."""
    every = {"matchExpressions": [{"key": "app.kubernetes.io/name", "operator": "Exists"}]}
    ours = [{"podSelector": every}]
    monitoring = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]

    def policy(name: str, who: Manifest, rules: list[Manifest]) -> Manifest:
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": {"podSelector": who, "policyTypes": ["Ingress"], "ingress": rules},
        }

    def named(*names: str) -> Manifest:
        found = {"key": "app.kubernetes.io/name", "operator": "In", "values": list(names)}
        return {"matchExpressions": [found]}

    def tcp(port: int) -> list[Manifest]:
        return [{"protocol": "TCP", "port": port}]

    return [
        policy("deny", {}, []),
        # From an ingress controller of another namespace too; keys are checked by the service.
        policy("services", named(*SERVICES), [{"ports": tcp(8620)}]),
        policy("worker-metrics", named("caption-worker"),
               [{"from": monitoring, "ports": tcp(9100)}]),
        policy("triton", named("triton"), [
            {"from": ours, "ports": [*tcp(8000), *tcp(8001)]},
            {"from": monitoring, "ports": tcp(8002)},
        ]),
    ]  # fmt: skip


def texts() -> dict[str, str]:
    """File name -> its text."""

    def dumped(documents: list[Manifest]) -> str:
        dumper = yaml.SafeDumper
        dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign,assignment]
        return yaml.dump_all(documents, Dumper=dumper, sort_keys=False)

    found = {name: dumped(documents) for name, documents in manifests().items()}
    return {**found, "kustomization.yaml": dumped([kustomization()])}


if __name__ == "__main__":
    for name, text in texts().items():
        (HERE / name).write_text(f"# Written by generate.py.\n{text}")
