"""One round, carried one step further: caption, train, evaluate, judge.

Every request that creates something carries a key made of the run, the round and the step, so doing
a step can be repeated safely. Work that is already running is only observed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from services.chassis.crashpoint import crashpoint
from services.chassis.telemetry.metrics import VERDICTS
from services.controller.loop.judging import judge_round, outcomes_of, round_scores
from services.controller.rounds import requests, seeds
from services.controller.rounds.planner import RoundFacts, best_round, self_name, self_rounds
from services.controller.rounds.state import next_state
from services.controller.runs.run_rows import facts_of
from services.controller.runs.runs import Runs
from services.controller.tables import RoundRow, RunRow
from vila2.client import ApiError, Client
from vila2.recipes.recipe import ControlRecipe, Recipe, SpecialistRecipe, StageName
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.base import Progress
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.rest.specialist import Specialist
from vila2.schemas.rest.training import Job, JobIn, JobKind, SeedJob, SourceIn

# The loop's own rounds have priority over controls when both wait for a slot.
_PRIORITY = {"base": 30, "baseline": 20, "self": 20, "specialist": 20, "control": 0}


class Step:
    """One round of one run, about to be carried one step further."""

    def __init__(
        self, runs: Runs, platform: Client, recipe: Recipe, run: RunRow, row: RoundRow
    ) -> None:
        self._runs, self._platform, self._recipe = runs, platform, recipe
        self._run, self._row = run, row
        self._others = {other.name: other for other in runs.rounds(run.id)}
        self.signs: list[tuple[str, int]] = []  # of whatever works for it: what, and how far

    def take(self) -> None:
        """Perform the step of the round's state; a refusal by another service fails the round."""
        try:
            {
                "pending": lambda: self._advance("begins"),
                "captioning": self._caption,
                "specialising": self._specialise,
                "training": self._train,
                "evaluating": self._evaluate,
            }[self._row.state]()
        except ApiError as error:
            if error.passing:
                raise
            self._fail(str(error))

    def _key(self, what: str) -> str:
        """Idempotency key of a step; it stays the same within one attempt."""
        again = self._row.tries.get(what, 0)
        name = self._row.name.replace(" ", "_")
        return f"{self._run.id}:{name}:{what}" + (f":{again}" if again else "")

    def _name(self, what: str = "") -> str:
        return f"{self._run.name}-{self._row.name}{what}".replace(" ", "-")

    def _advance(self, message: str, **values: object) -> None:
        after = next_state(self._row.kind, self._row.state)  # type: ignore[arg-type]
        self._runs.change_round(self._row, message, state=after, **values)

    def _fail(self, reason: str, **values: object) -> None:
        self._runs.change_round(self._row, reason, state="failed", error=reason[:2000], **values)

    def _caption(self) -> None:
        """The model of the round before captions the data (paper, section 2.1)."""
        if self._row.layer_job:
            job = self._platform.caption.job(self._row.layer_job)
        else:
            job = self._platform.caption.start_job(self._caption_body(), self._key("caption"))
        self._saw(job.progress)
        crashpoint("round.caption-asked")
        if job.state == "sealed":
            quarantined = sum(job.quarantined.values())
            self._advance(
                f"{job.captioned} captioned, {quarantined} quarantined",
                layer_job=job.id,
                layer=job.layer,
            )
        elif job.state in ("failed", "cancelled"):
            self._fail(f"captioning {job.state}: {job.error}", layer_job=job.id)
        elif self._row.layer_job != job.id:
            self._runs.change_round(self._row, layer_job=job.id)

    def _caption_body(self) -> CaptionJobIn:
        position = len([r for r in self_rounds(self._facts()) if r.position < self._row.position])
        before = self._others[self_name(position)] if position else self._others["round 0"]
        body = requests.caption_job(
            self._recipe, name=f"{self._run.name} {self._row.name}", model=before.model
        )
        return body.model_copy(update={"run": self._run.id})

    def _specialise(self) -> None:
        """All specialists at once: each finetuned from the best model, each recaptioning."""
        parent = self._others[best_round(self._facts()).name]
        started: dict[str, str] = {}
        layers: dict[str, str] = {}
        for specialist in self._recipe.specialists:
            held = self._specialist(specialist, parent.model)
            started[specialist.name] = held.id
            self._saw(held.progress)
            if held.state in ("failed", "cancelled"):
                known = {**self._row.specialists, **started}
                said = f"{specialist.name} specialist {held.state}: {held.error}"
                self._fail(said, specialists=known)
                return
            if held.state == "done":
                layers[specialist.name] = held.layer
        if len(layers) == len(self._recipe.specialists):
            self._advance(
                f"specialists of {parent.name} recaptioned",
                specialists=started,
                skill_layers=layers,
                layer=self._best_layer(),
            )
        elif started != self._row.specialists:
            self._runs.change_round(self._row, specialists=started)

    def _specialist(self, specialist: SpecialistRecipe, parent: str) -> Specialist:
        known = self._row.specialists.get(specialist.name)
        if known:
            return self._platform.specialist.get(known)
        body = requests.specialist_job(
            self._recipe, specialist, name=self._name(f"-{specialist.name}"), parent=parent
        )
        body = body.model_copy(update={"run": self._run.id})
        return self._platform.specialist.start(body, self._key(specialist.name))

    def _train(self) -> None:
        """One job, with all the seeds of the recipe; the base, which rounds share, with one."""
        job = self._job(self._row.train_job, self._training_body, "train")
        crashpoint("round.train-asked")
        held = seeds.trainings(job, self._recipe.seed)
        if self._settled("train", held, job.state, train_job=job.id):
            models = {one.seed: one.model for one in held}
            message = f"trained {', '.join(models.values())}"
            self._advance(message, train_job=job.id, **seeds.model_columns(models))

    def _training_body(self) -> JobIn:
        recipe, row = self._recipe, self._row
        if row.kind == "base":
            return requests.base_job(recipe)
        extra: dict[StageName, int] = {}
        sft_extra: list[SourceIn] = []
        if row.kind == "baseline":
            source = requests.original_source(recipe)
        elif row.kind == "self":
            source = requests.recaption_source(recipe, row.layer, earlier=self._earlier(row.layer))
        elif row.kind == "specialist":
            source = requests.specialised_source(
                recipe, row.layer, row.skill_layers, earlier=self._earlier(row.layer)
            )
            extra = requests.specialist_round_extra(recipe)
            sft_extra = self._specialist_data(times=1) if extra else []
        else:
            source, extra, sft_extra = self._control()
        body = requests.generalist_job(
            recipe,
            name=self._name(),
            base=self._others["base"].model,
            pretrain=source,
            extra=extra,
            sft_extra=sft_extra,
            priority=_PRIORITY[row.kind],
        )
        return requests.with_seeds(recipe, body)

    def _control(self) -> tuple[SourceIn, dict[StageName, int], list[SourceIn]]:
        recipe = self._recipe
        control = next(c for c in recipe.controls if c.name == self._row.name)
        if control.captions == "none":
            source = requests.original_source(recipe)
        else:
            layer = self._control_layer(control)
            source = requests.recaption_source(
                recipe, layer, earlier=self._earlier(layer), shuffle=control.shuffle_captions
            )
        rounds = 1 + len(self_rounds(self._facts()))
        extra = requests.control_extra(recipe, control, rounds=rounds)
        data: list[SourceIn] = []
        if control.specialist_data:
            data = self._specialist_data(times=requests.specialist_visits(recipe))
        return source, extra, data

    def _specialist_data(self, *, times: int) -> list[SourceIn]:
        names = [self._recipe.data.sft, *(s.dataset for s in self._recipe.specialists)]
        sizes: dict[str, int] = {name: self._samples(name) for name in names}
        return requests.specialist_data(self._recipe, sizes, times=times)

    def _samples(self, dataset: DatasetRef) -> int:
        return self._platform.datasets.version(dataset.name, dataset.version).samples

    def _control_layer(self, control: ControlRecipe) -> str:
        if control.captions == "first":
            return str(self._others[self_name(1)].layer)
        return self._best_layer() if control.captions == "best" else control.layer

    def _evaluate(self) -> None:
        """A job for each seed's model; the verdict is over them all."""
        held = self._evaluations()
        columns = seeds.evaluation_columns({one.seed: one.job for one in held})
        state = seeds.together([one.state for one in held])
        if not self._settled("evaluate", held, state, **columns):
            return
        found = {one.seed: outcomes_of(self._platform, one.job) for one in held}
        verdict = judge_round(
            self._platform, self._recipe, self._row, self._others, self._facts(), found
        )
        if verdict is not None:
            VERDICTS.labels(verdict["kind"]).inc()
        self._advance(
            verdict["evidence"] if verdict else "evaluated",
            scores=round_scores(self._recipe, held[0].result, found),
            verdict=verdict,
            **columns,
        )

    def _evaluations(self) -> list[SeedJob]:
        models = seeds.models_of(self._row, self._recipe.seed)
        known = seeds.evaluations_of(self._row, self._recipe.seed)
        held = []
        for seed, model in models.items():
            mark = seeds.mark(seed, models)
            body = partial(
                requests.evaluate_job,
                self._recipe,
                name=self._name(f"-evaluation{mark}"),
                model=model,
                priority=_PRIORITY[self._row.kind] + 5,
            )
            job = self._job(known.get(seed, ""), body, f"evaluate{mark}")
            held.append(seeds.of_seed(seed, job))
            crashpoint("round.evaluate-asked")
        return held

    def _job(self, known: str, body: Callable[[], JobIn], what: str) -> Job:
        """The known job, or one submitted now and charged to this run."""
        if known:
            job = self._platform.training.job(known)
        else:
            asked = body().model_copy(update={"run": self._run.id})
            job = self._platform.training.submit(asked, self._key(what))
        self._saw(job.progress)
        return job

    def _saw(self, progress: Progress) -> None:
        self.signs.append((progress.phase, progress.done))

    def _settled(self, kind: JobKind, held: Sequence[SeedJob], state: str, **columns: Any) -> bool:
        """True when all jobs have succeeded; one that did not fails the round when all have ended.

        `state` is their combined state, and `columns` the row's columns for them.
        """
        if state not in seeds.ENDED:
            if any(getattr(self._row, name) != value for name, value in columns.items()):
                self._runs.change_round(self._row, **columns)
            return False
        broken = seeds.failure(kind, held)
        if broken:
            self._fail(broken, **columns)
        return not broken

    def _earlier(self, layer: str) -> list[str]:
        selves = [self._others[facts.name].layer for facts in self_rounds(self._facts())]
        return requests.earlier_layers(self._recipe, layer, selves)

    def _best_layer(self) -> str:
        best = self._others[best_round(self._facts()).name]
        return best.layer or self._others[self_name(1)].layer

    def _facts(self) -> list[RoundFacts]:
        return [facts_of(row) for row in self._others.values()]
