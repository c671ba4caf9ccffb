"""What earlier jobs of a preset took, from the training service's own records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from services.controller.estimates.rates import History, Observed
from vila2.api.training import Job, ModelDetails, TrainIn
from vila2.client import ApiError, Client

# Newest jobs that are looked at: the machine of long ago may have been another.
JOBS = 200


class PastJobs:
    """A team's earlier jobs, read once."""

    def __init__(self, platform: Client) -> None:
        self._platform = platform
        self._details: dict[str, ModelDetails | None] = {}
        self.presets: dict[str, str] = {}
        self._trainings = list(self._jobs("train"))
        for job in reversed(self._trainings):
            preset = self._preset(job.model)
            if preset:
                self.presets[job.model] = preset

    def of_preset(self, preset: str) -> History:
        """What trainings of this preset and evaluations of their models took."""
        stages: list[Observed] = []
        overheads: list[float] = []
        evaluations: list[float] = []
        for job in self._trainings:
            if self.presets.get(job.model) != preset:
                continue
            details = self._model(job.model)
            assert details is not None  # or its preset were not known
            config = TrainIn.model_validate(details.config)
            told: Mapping[str, Any] = job.result.get("stages", {})
            for stage in config.stages:
                if stage.name in told:
                    entry = told[stage.name]
                    took = float(entry["seconds"]) * config.processes
                    parts = frozenset(stage.trainable)
                    stages.append(Observed(stage.name, parts, took, int(entry["visits"])))
            inside = sum(float(entry["seconds"]) for entry in told.values())
            overheads.append(max(0.0, job.seconds - inside) * config.processes)
            evaluations += self._seconds_of_a_question(details)
        return History(stages, overheads, evaluations, self._unit())

    def _seconds_of_a_question(self, details: ModelDetails) -> Iterator[float]:
        for name in dict.fromkeys(evaluation.job for evaluation in details.evaluations):
            job = self._platform.training.job(name)
            if questions := int(job.result.get("questions", 0)):
                yield job.seconds / questions

    def _unit(self) -> str:
        used = self._platform.training.usage()
        return "gpu" if any(usage.gpu_hours for usage in used) else "process"

    def _jobs(self, kind: str) -> Iterator[Job]:
        found = self._platform.training.jobs(state="succeeded", kind=kind, page=50)
        for job in islice(found, JOBS):
            yield from self._with_models(job)

    def _with_models(self, job: Job) -> Iterator[Job]:
        """The job, or those that it is made of, as far as they made a model."""
        if job.seeds:
            yield from (self._platform.training.job(held.job) for held in job.seeds)
        elif job.model:
            yield job

    def _preset(self, model: str) -> str:
        """The preset at the beginning of a model's line of parents; empty where it is not told."""
        seen: set[str] = set()
        while model and model not in seen:
            seen.add(model)
            details = self._model(model)
            config = details.config if details else {}
            if config.get("preset"):
                return str(config["preset"])
            model = str(config.get("model", ""))
        return ""

    def _model(self, name: str) -> ModelDetails | None:
        if name not in self._details:
            try:
                self._details[name] = self._platform.training.model_details(name)
            except ApiError:
                self._details[name] = None
        return self._details[name]
