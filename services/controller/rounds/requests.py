"""Request bodies of a round for the other services: pure functions of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vila2.recipes.recipe import (
    SELF_LAYER,
    STAGES,
    ControlRecipe,
    Recipe,
    SpecialistRecipe,
    StageName,
    StageRecipe,
)
from vila2.schemas.assembly import Assembly, KeepBy
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.rest.specialist import SpecialistIn
from vila2.schemas.rest.training import EvaluateIn, JobIn, LayerUse, SourceIn, StageIn, TrainIn

# An answer is a few hundred tokens at most; boxes and captions are the longest.
EVALUATION_TOKENS = 96


def with_seeds(recipe: Recipe, body: JobIn) -> JobIn:
    """The training of a round, once with each of the recipe's seeds."""
    seeds = recipe.training_seeds()
    return body.model_copy(update={"seeds": seeds}) if len(seeds) > 1 else body


def base_job(recipe: Recipe) -> JobIn:
    """Compose the preset, train its tokenizer on all texts, and train the base if asked to."""
    base = recipe.model.base
    tokenizer = [name for name in recipe.datasets() if name not in recipe.benchmarks]
    stages = []
    if base.stage is not None:
        source = _conversations(DatasetRef.parse(base.dataset), base.stage)
        stages.append(_stage("base", base.stage, [source]))
    return JobIn(
        name="base",
        train=TrainIn(
            init="new",
            preset=recipe.model.preset,
            tokenizer_datasets=tokenizer,
            stages=stages,
            **_how(recipe),
        ),
    )


def generalist_job(
    recipe: Recipe,
    *,
    name: str,
    base: str,
    pretrain: SourceIn,
    extra: Mapping[StageName, int] | None = None,
    sft_extra: Sequence[SourceIn] = (),
    priority: int = 0,
) -> JobIn:
    """Retrain from scratch: the base's weights, a fresh projector, all three stages (2.1).

    Stage 1 keeps the original captions in every round, as the paper keeps its alignment data.
    """
    aligned = DatasetRef.parse(recipe.data.align or recipe.data.pretrain)
    align = SourceIn(dataset=aligned, assembly=recipe.baseline)
    also = [_as_it_came(dataset) for dataset in recipe.data.pretrain_also]
    sft = _conversations(recipe.data.sft, recipe.stages["sft"])
    sources = {"align": [align], "pretrain": [pretrain, *also], "sft": [sft, *sft_extra]}
    return JobIn(
        name=name,
        priority=priority,
        train=TrainIn(
            init="base",
            model=base,
            stages=[
                _stage(
                    stage, recipe.stages[stage], sources[stage], extra=(extra or {}).get(stage, 0)
                )
                for stage in STAGES
            ],
            **_how(recipe),
        ),
    )


def original_source(recipe: Recipe) -> SourceIn:
    """Round 0's pretraining text."""
    return SourceIn(dataset=recipe.data.pretrain, assembly=recipe.baseline)


def recaption_source(
    recipe: Recipe, layer: str, *, earlier: Sequence[str] = (), shuffle: bool = False
) -> SourceIn:
    """Pretraining text of a self-augmented round; `earlier` layers are those before its own."""
    general = _general(recipe.recaption, layer, earlier)
    return SourceIn(
        dataset=recipe.data.pretrain,
        layers=_uses(general),
        assembly=_over(recipe.recaption, general),
        shuffle_captions=shuffle,
        keep_fraction=_kept(dict.fromkeys(general, recipe.captioning.keep_fraction)),
        keep_by=_keep_by(recipe, general),
    )


def specialised_source(
    recipe: Recipe, layer: str, skills: Mapping[str, str], *, earlier: Sequence[str] = ()
) -> SourceIn:
    """Pretraining text of the specialist round; `skills` maps a specialist to its layer."""
    assert recipe.specialised is not None  # the recipe's validator saw to it
    questions = {s.name: s.questions for s in recipe.specialists}
    assembly = Assembly.model_validate({**recipe.specialised.model_dump(), "questions": questions})
    general = _general(assembly, layer, earlier)
    kept = dict.fromkeys(general, recipe.captioning.keep_fraction)
    kept |= {s.name: s.keep_fraction for s in recipe.specialists}
    return SourceIn(
        dataset=recipe.data.pretrain,
        layers=[*_uses(general), *_uses(dict(sorted(skills.items())))],
        assembly=_over(assembly, general),
        keep_fraction=_kept(kept),
        keep_by=_keep_by(recipe, general),
    )


def earlier_layers(recipe: Recipe, layer: str, layers: Sequence[str]) -> list[str]:
    """Layers that a round trains on besides `layer`: the earlier ones, if captions accumulate.

    `layers` are those of all self-augmented rounds, in order. Accumulating keeps the loop from
    forgetting what earlier captions said; the paper trains on the newest alone (section 2.1).
    """
    if not recipe.captioning.accumulate or layer not in layers:
        return []
    return list(layers[: layers.index(layer)])


def scored(recipe: Recipe) -> bool:
    """Whether a round's captions are kept by their consistency scores."""
    return recipe.captioning.keep_by == "consistency" and recipe.captioning.keep_fraction < 1


def control_extra(recipe: Recipe, control: ControlRecipe, *, rounds: int) -> dict[StageName, int]:
    """Steps added to a control; `rounds` models were trained in the loop, the baseline included."""
    one = sum(recipe.stages[stage].steps for stage in STAGES)
    steps = {
        "none": 0,
        "first-round": one,
        "loop": one * (rounds - 1),
        "specialists": specialist_visits(recipe)
        * _specialist_steps(recipe, recipe.stages[control.put_into].batch_size),
    }[control.extra_steps]
    return {control.put_into: steps} if steps else {}


def specialist_round_extra(recipe: Recipe) -> dict[StageName, int]:
    """Extra SFT steps of the specialist round, if it trains on the specialists' data."""
    if not recipe.specialist_data_in_sft:
        return {}
    return {"sft": _specialist_steps(recipe, recipe.stages["sft"].batch_size)}


def specialist_data(recipe: Recipe, sizes: Mapping[str, int], *, times: int = 1) -> list[SourceIn]:
    """The specialists' data as SFT sources, visited `times` as often as in their finetuning.

    `sizes` maps a dataset to its number of samples. The SFT stage must be lengthened by just as
    many visits, so that its own data is visited as often as without.
    """
    sft = recipe.stages["sft"]
    own = sft.steps * sft.batch_size / max(1, sizes[recipe.data.sft])
    return [
        _conversations(
            specialist.dataset,
            specialist.stage,
            repeat=max(
                0.01,
                times
                * specialist.stage.steps
                * specialist.stage.batch_size
                / max(1, sizes[specialist.dataset])
                / own,
            ),
        )
        for specialist in recipe.specialists
    ]


def caption_job(recipe: Recipe, *, name: str, model: str) -> CaptionJobIn:
    """The request for a round's caption layer."""
    return CaptionJobIn(
        name=name,
        dataset=recipe.data.pretrain.name,
        version=recipe.data.pretrain.version,
        model=model,
        prompts=recipe.captioning.prompts,
        sampling=recipe.captioning.sampling,
        gate=recipe.captioning.gate,
        seed=recipe.seed,
        score=scored(recipe),
    )


def specialist_job(
    recipe: Recipe, specialist: SpecialistRecipe, *, name: str, parent: str
) -> SpecialistIn:
    """The request to finetune one specialist and recaption with it."""
    source = _conversations(specialist.dataset, specialist.stage)
    return SpecialistIn(
        specialist=specialist.name,
        name=name,
        parent=parent,
        stage=_stage(specialist.name, specialist.stage, [source]),
        dataset=recipe.data.pretrain,
        prompts=specialist.prompts,
        sampling=specialist.sampling,
        # A bound for captions means nothing for a box or a number.
        gate=recipe.captioning.gate.model_copy(update={"min_consistency": None}),
        **_how(recipe),
    )


def evaluate_job(recipe: Recipe, *, name: str, model: str, priority: int) -> JobIn:
    """The request to evaluate one model on all benchmarks of the recipe."""
    return JobIn(
        name=name,
        priority=priority,
        evaluate=EvaluateIn(
            model=model,
            benchmarks=recipe.benchmarks,
            max_new_tokens=EVALUATION_TOKENS,
            threads=recipe.training.threads,
        ),
    )


def specialist_visits(recipe: Recipe) -> int:
    """How often the specialist round uses the specialists' data: once to finetune them, and once
    more where its own SFT sees it too."""
    return 2 if recipe.specialist_data_in_sft else 1


def planned_steps(recipe: Recipe, kind: str, control: ControlRecipe | None, rounds: int) -> int:
    """Training steps that a round of this kind takes: the weight of its progress."""
    if kind == "base":
        return recipe.model.base.stage.steps if recipe.model.base.stage else 1
    one = sum(recipe.stages[stage].steps for stage in STAGES)
    if control is not None:
        one += sum(control_extra(recipe, control, rounds=rounds).values())
    if kind != "specialist":
        return one * recipe.rounds.seeds
    one += sum(specialist_round_extra(recipe).values())
    return one * recipe.rounds.seeds + sum(s.stage.steps for s in recipe.specialists)


def _general(assembly: Assembly, layer: str, earlier: Sequence[str]) -> dict[str, str]:
    """Alias -> layer of the general captions, the newest first; empty if none are read."""
    if not assembly.caption_layer:
        return {}
    before = {f"{SELF_LAYER}-{number}": held for number, held in enumerate(earlier, 1)}
    return {assembly.caption_layer: layer, **before}


def _over(assembly: Assembly, general: Mapping[str, str]) -> Assembly:
    """The assembly over these layers."""
    return assembly.model_copy(update={"also_layers": list(general)[1:]})


def _uses(layers: Mapping[str, str]) -> list[LayerUse]:
    return [LayerUse(alias=alias, layer=layer) for alias, layer in layers.items()]


def _keep_by(recipe: Recipe, general: Mapping[str, str]) -> dict[str, KeepBy]:
    return dict.fromkeys(general, recipe.captioning.keep_by) if scored(recipe) else {}


def _as_it_came(dataset: DatasetRef) -> SourceIn:
    """Images with their original text."""
    return SourceIn(dataset=dataset, assembly=Assembly(policy="original"))


def _conversations(dataset: DatasetRef, stage: StageRecipe, *, repeat: float = 1.0) -> SourceIn:
    """Supervised turns, as many per visit as the stage sets."""
    assembly = Assembly(policy="conversations", turns_per_sample=stage.turns_per_visit)
    return SourceIn(dataset=dataset, assembly=assembly, repeat=repeat)


def _stage(
    name: str, stage: StageRecipe, sources: Sequence[SourceIn], *, extra: int = 0
) -> StageIn:
    schedule = stage.model_dump(exclude={"turns_per_visit"})
    schedule["steps"] += extra
    return StageIn(**schedule, name=name, sources=list(sources))


def _how(recipe: Recipe) -> dict[str, Any]:
    return {"seed": recipe.seed, **recipe.training.model_dump()}


def _kept(fractions: Mapping[str, float]) -> dict[str, float]:
    return {name: share for name, share in fractions.items() if share < 1.0}


def _specialist_steps(recipe: Recipe, batch_size: int) -> int:
    visits = sum(s.stage.steps * s.stage.batch_size for s in recipe.specialists)
    return round(visits / batch_size)
