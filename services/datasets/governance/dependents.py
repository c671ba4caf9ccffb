"""What still needs a version: asked before it is deleted, of the services that know.

Not asked: training and evaluation jobs that were submitted without a run, and specialists started
without one, because their lists do not name their data. Such a job fails with the version's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.chassis.web.errors import Conflict
from vila2.client import Client
from vila2.recipes.recipe import Recipe
from vila2.schemas.refs import DatasetRef

_JOB_UNFINISHED = ("running", "paused")
# A failed run can be retried.
_RUN_UNFINISHED = ("running", "paused", "failed")
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be deleted: versions, one of which its dataset's name may mean, and layers.

    `layers` are (id, name); `bare` is the dataset's name if it means one of the versions.
    """

    what: str
    versions: Sequence[DatasetRef]
    layers: Sequence[tuple[str, str]] = ()
    bare: str = ""

    @property
    def names(self) -> set[str]:
        """Everything by which a recipe or a model can name its data."""
        held = {str(version) for version in self.versions} | ({self.bare} - {""})
        return held | {name for layer in self.layers for name in layer}


@dataclass(slots=True)
class Dependents:
    """What depends on a target, as sentences' parts, each with what to do about it."""

    parts: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)

    def add(self, what: str, names: Iterable[str], fix: str) -> None:
        """Add dependents of one kind, if there are any; only the first are named."""
        held = list(names)
        if held:
            more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
            self.parts.append(f"{what} {', '.join(held[:_NAMED])}{more}")
            self.fixes.append(fix)

    def check(self, target: Target) -> None:
        """Raise `Conflict` that names the dependents, unless there are none."""
        if self.parts:
            raise Conflict(
                f"{target.what} is needed by {'; '.join(self.parts)}",
                field="name",
                fix="; ".join(self.fixes),
            )


def dependents(
    platform: Client, target: Target, *, with_layers: bool, models: Sequence[str]
) -> Dependents:
    """Layers, caption jobs, runs and `models` that need the target."""
    found = Dependents()
    if not with_layers:
        found.add(
            "its caption layers",
            (f"{layer} ({name})" for layer, name in target.layers),
            "pass with_layers=true (--with-layers) to delete them too",
        )
    jobs = _caption_jobs(platform, target)
    found.add(
        "the caption jobs", jobs, f"let them end, or `vila2 captions cancel {next(iter(jobs), '')}`"
    )
    runs = _runs(platform, target)
    found.add("the runs", runs, f"let them finish, or `vila2 runs cancel {next(iter(runs), '')}`")
    found.add(
        "the models trained on it",
        models,
        "pass despite_models=true (--despite-models): they stay, and their records name data that "
        "is no longer there",
    )
    return found


def trained_on(platform: Client, target: Target) -> list[str]:
    """Models whose training read the target; one that read the bare name may have."""
    return [model.name for model in platform.training.models() if target.names & set(model.data)]


def _caption_jobs(platform: Client, target: Target) -> list[str]:
    """Caption jobs that can still continue on the versions, or keep captions of the layers."""
    layers = {layer for layer, _ in target.layers}
    found = []
    for job in platform.caption.jobs(page=1000):
        if job.state not in _JOB_UNFINISHED:
            continue
        if DatasetRef(job.dataset, job.version) in target.versions or (
            layers and platform.caption.job_request(job.id).base_layer in layers
        ):
            found.append(job.id)
    return found


def _runs(platform: Client, target: Target) -> list[str]:
    """Runs that can still continue, and whose recipe names the target."""
    found = []
    for run in platform.controller.runs():
        if run.state not in _RUN_UNFINISHED:
            continue
        # A run's recipe names the versions that the run pinned when it started.
        recipes = platform.controller.recipes(run.id)
        named = Recipe.model_validate(recipes[-1].recipe).datasets() if recipes else []
        if target.names & {str(name) for name in named}:
            found.append(run.id)
    return found
