"""What only Kubernetes has: its objects, their schema, their names, a server that says no."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from services.training.backends.backend import (
    BackendUnreachable,
    Command,
    Defaults,
    Refused,
    resources,
)
from services.training.backends.kubernetes_api import Changed, Cluster, KubernetesApi
from services.training.backends.kubernetes_manifest import KubernetesOptions, job_name, train_job
from tests.services.training.conftest import Submit
from tests.support.paths import REPOSITORY
from tests.support.servers.kubernetes import TOKEN
from tests.support.servers.trainjob_schema import unknown_fields, wrong_values
from tests.support.training.backend_sites import KubernetesSite
from tests.support.waiting import until

GOLDEN = Path(__file__).parent / "golden" / "trainjob.yaml"
DEPLOY = REPOSITORY / "deploy" / "k8s" / "overlays" / "kubeflow"


def manifest() -> dict[str, Any]:
    folder = Path("/workspace/training/jobs/job-1")
    command = Command("vila2.training.train", folder / "spec.json", folder, 16, 4, attempt=2)
    defaults = Defaults(
        processes_per_node=8, accelerator="gpu", memory=64000, seconds=14400, notice=300
    )
    options = KubernetesOptions(
        namespace="training", image="vila2-train:1", claim="workspace", mount="/workspace",
        service_account="vila2-jobs", grace=120,
    )  # fmt: skip
    return train_job("job-1", command, resources(command, defaults), options)


@pytest.fixture
def api(kubernetes_site: KubernetesSite, tmp_path: Path) -> KubernetesApi:
    (tmp_path / "token").write_text(TOKEN)
    cluster = Cluster(kubernetes_site.cluster.url, tmp_path / "token", None)
    return KubernetesApi(cluster, "training")


def test_the_manifest_is_the_golden_one() -> None:
    """Two nodes of eight processes, with everything a site can set."""
    assert manifest() == yaml.safe_load(GOLDEN.read_text())


def test_the_manifest_and_the_runtime_fit_kubeflows_schema() -> None:
    """Every field is known to it and has its type."""
    runtime = yaml.safe_load((DEPLOY / "runtime.yaml").read_text())
    for kind, value in (("TrainJob", manifest()), ("TrainingRuntime", runtime)):
        assert unknown_fields(kind, value) == []
        assert wrong_values(kind, value) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("spec", "trainer", "gpus"), 8, 'unknown field "spec.trainer.gpus"'),
        (("spec", "trainer", "numNodes"), "2", "numNodes"),
        (("spec", "trainer", "command"), "python", "command"),
        (("spec", "trainer", "resourcesPerNode", "limits", "memory"), "64 GB", "not a quantity"),
        (("spec", "runtimePatches", 0, "trainingRuntimeSpec", "mlPolicy"), {}, "unknown field"),
        (("spec", "runtimeRef"), {"kind": "TrainingRuntime"}, "name"),
    ],
)
def test_the_server_refuses_what_the_schema_does_not_have(
    api: KubernetesApi, path: tuple[Any, ...], value: object, words: str
) -> None:
    """So that passing it says something about the manifest."""
    changed = copy.deepcopy(manifest())
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises(Refused, match=words):
        api.create(changed)


@given(st.text(min_size=1, max_size=80))
def test_a_job_has_a_name_that_dns_takes(key: str) -> None:
    """Short enough for what Kubernetes appends to a pod's."""
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job_name(key))
    assert len(job_name(key)) <= 40


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_keys_that_differ_have_names_that_differ(one: str, other: str) -> None:
    """Or one job would be adopted as another."""
    assert (job_name(one) == job_name(other)) == (one == other)


@pytest.mark.slow
def test_a_job_on_two_nodes_meets_at_the_first(
    kubernetes_site: KubernetesSite, job: Submit
) -> None:
    """torchrun takes addresses and ranks from Kubeflow's variables."""
    wide = job(kubernetes_site, "tell_environment", processes=2)
    wide.submit(kubernetes_site.backend(wide.folder.parent, training_processes_per_node=1))
    assert wide.ended(seconds=60) == "succeeded", wide.log()
    ranks = {line for line in wide.log().splitlines() if line.startswith(("RANK=", "WORLD_SIZE="))}
    assert ranks == {"RANK=0", "RANK=1", "WORLD_SIZE=2"}


def test_a_node_that_is_lost_interrupts_the_job_though_the_others_fail(
    kubernetes_site: KubernetesSite, tmp_path: Path
) -> None:
    """They see no more than a broken connection."""
    backend = kubernetes_site.backend(tmp_path)
    (tmp_path / "exit.json").write_text(json.dumps({"status": 1}))
    (tmp_path / "exit-1.json").write_text(json.dumps({"status": 75}))
    assert backend.observe("job-gone/uid", tmp_path) == "interrupted"


def test_another_platforms_object_is_not_touched(
    kubernetes_site: KubernetesSite, api: KubernetesApi, job: Submit
) -> None:
    """Two platforms in one namespace must not end each other's jobs."""
    ours = job(kubernetes_site, "succeed")
    theirs = manifest()
    theirs["metadata"]["name"] = job_name(ours.key)
    theirs["spec"]["suspend"] = True
    made = api.create(theirs)
    ours.submit(attempt=3)
    assert ours.phase() == "failed"
    assert "VILA2_KUBERNETES_NAMESPACE" in (ours.folder / "error.txt").read_text()
    assert api.get(made["metadata"]["name"]) is not None
    api.delete(made)


def test_what_was_read_before_a_change_changes_nothing(api: KubernetesApi) -> None:
    """By its version when it is suspended, by its uid when it is deleted."""
    body = manifest()
    body["metadata"]["name"] = "job-stale"
    body["spec"]["suspend"] = True
    made = copy.deepcopy(api.create(body))
    until(lambda: "conditions" in (api.get("job-stale") or {})["status"])
    api.suspend(api.get("job-stale") or {})
    with pytest.raises(Changed):
        api.suspend(made)
    other = copy.deepcopy(made)
    other["metadata"]["uid"] = "another"
    with pytest.raises(Changed):
        api.delete(other)
    api.delete(made)


@pytest.mark.parametrize(
    ("token", "group", "words"),
    [("expired", "trainer.kubeflow.org", "TOKEN_FILE"), (TOKEN, "", "rbac.yaml")],
)
def test_a_server_that_does_not_let_one_in_decides_nothing(
    kubernetes_site: KubernetesSite, tmp_path: Path, token: str, group: str, words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The job waits until the token or the role is put right."""
    (tmp_path / "token").write_text(token)
    kept = [rule for rule in kubernetes_site.cluster.rules if group in rule["apiGroups"]]
    monkeypatch.setattr(kubernetes_site.cluster, "rules", kept)
    backend = kubernetes_site.backend(tmp_path, kubernetes_token_file=tmp_path / "token")
    with pytest.raises(BackendUnreachable, match=words):
        backend.observe("job-x/uid", tmp_path)


def test_a_server_that_is_gone_decides_nothing(
    kubernetes_site: KubernetesSite, tmp_path: Path
) -> None:
    """A job is not lost because nobody answers."""
    backend = kubernetes_site.backend(tmp_path, kubernetes_url="http://127.0.0.1:9")
    with pytest.raises(BackendUnreachable, match="does not answer"):
        backend.observe("job-x/uid", tmp_path)
