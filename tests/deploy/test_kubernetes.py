"""The manifests of deploy/k8s/platform, against the API's own schemas."""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

PLATFORM = Path(__file__).parents[2] / "deploy/k8s/platform"
VERSIONS = ("1.31", "1.37")


def program() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("k8s_platform", PLATFORM / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


DOCUMENTS = [
    pytest.param(held, id=f"{held['kind']} {held['metadata']['name']}")
    for documents in program().manifests().values()
    for held in documents
]


def test_the_files_are_what_the_program_writes() -> None:
    for name, text in program().texts().items():
        assert (PLATFORM / name).read_text() == f"# Written by generate.py.\n{text}", name


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("held", DOCUMENTS)
def test_a_server_would_take_every_manifest(held: dict, version: str) -> None:  # type: ignore[type-arg]
    """An unknown field or a wrong type is refused."""
    kubernetes_validate.validate(held, version, strict=True)


def test_the_schema_refuses_a_misspelt_field() -> None:
    """So the test above can fail."""
    held = next(d for d in program().manifests()["controller.yaml"] if d["kind"] == "Deployment")
    held["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(held, VERSIONS[-1], strict=True)


def test_kustomize_is_given_every_file_and_nothing_else() -> None:
    listed = yaml.safe_load((PLATFORM / "kustomization.yaml").read_text())
    there = {path.name for path in PLATFORM.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed["resources"]) == there
    assert all((PLATFORM / name).exists() for name in listed["configMapGenerator"][0]["envs"])


def test_every_pod_is_an_ordinary_user_with_a_read_only_root() -> None:
    pods = [
        held["spec"]["template"]["spec"]
        for documents in program().manifests().values()
        for held in documents
        if held["kind"] in ("Deployment", "Job")
    ]
    assert len(pods) == 8
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["resources"]["limits"]
