"""What the tests of the training service share; a site is started with its first test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import services.training.jobs.dispatcher as dispatcher_module
from tests.support.paths import REPOSITORY
from tests.support.servers.kubernetes import TOKEN, kubernetes
from tests.support.servers.slurm import slurm
from tests.support.training.backend_sites import Job, KubernetesSite, Site, SlurmSite
from tests.support.training.training_service import SCRIPTED_JOB, Service

Submit = Callable[..., Job]


@pytest.fixture(scope="session")
def local_site() -> Site:
    return Site("local")


@pytest.fixture(scope="session")
def _module_path() -> Iterator[None]:
    """Where jobs find the tests' module: they run in their own folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        yield


@pytest.fixture(scope="session")
def slurm_site(_module_path: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmSite]:
    with slurm() as cluster:
        yield SlurmSite(cluster, tmp_path_factory.mktemp("limited"))


@pytest.fixture(scope="session")
def kubernetes_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesSite]:
    token = tmp_path_factory.mktemp("account") / "token"
    token.write_text(TOKEN)
    with kubernetes(REPOSITORY / "deploy" / "k8s" / "overlays" / "kubeflow") as cluster:
        yield KubernetesSite(cluster, token)


@pytest.fixture(params=["local", pytest.param("slurm", marks=pytest.mark.server), "kubernetes"])
def site(request: pytest.FixtureRequest) -> Site:
    """Each backend in turn: what uses it holds for all."""
    found: Site = request.getfixturevalue(f"{request.param}_site")
    return found


@pytest.fixture
def job(tmp_path: Path, _module_path: None) -> Iterator[Submit]:
    """Make a job of a preset at a site; what a test leaves running is ended."""
    made: list[Job] = []

    def make(site: Site, preset: str, **fields: object) -> Job:
        key = f"job-{tmp_path.parent.name[-3:]}-{tmp_path.name}-{len(made)}".replace("_", "-")
        made.append(Job(site, tmp_path / f"job-{len(made)}", preset, key=key[-60:], **fields))
        return made[-1]

    yield make
    for each in made:
        if each.handle:
            each.stop(wait=0.0)


@pytest.fixture
def made_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run `scripted_job` in place of the trainer."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setitem(dispatcher_module._MODULES, "train", SCRIPTED_JOB)


@pytest.fixture
def service(tmp_path: Path, made_jobs: None) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.context.dispatcher.interrupt()
