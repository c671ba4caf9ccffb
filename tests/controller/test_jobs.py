"""Equal budgets: what a control may spend, and what a round is trained on."""

from __future__ import annotations

from services.controller import jobs
from vila2.api.training import JobIn
from vila2.recipe import STAGES, ControlRecipe, Recipe, load_recipe


def steps(job: JobIn) -> int:
    assert job.train is not None
    return sum(stage.steps for stage in job.train.stages)


def generalist(recipe: Recipe, **options: object) -> JobIn:
    return jobs.generalist_job(
        recipe,
        name="n",
        token="t",
        base="b",
        **{"pretrain": jobs.original_source(recipe), **options},  # type: ignore[arg-type]
    )


def test_every_round_takes_the_same_steps() -> None:
    recipe = load_recipe("tiny")
    skills = {s.name: f"layer-{s.name}" for s in recipe.specialists}
    special = generalist(recipe, pretrain=jobs.specialised_source(recipe, "l", skills))
    again = generalist(recipe, pretrain=jobs.recaption_source(recipe, "l"))
    assert steps(generalist(recipe)) == steps(again) == steps(special)


def test_a_specialist_control_takes_all_steps_that_the_specialist_round_took() -> None:
    """The specialists' finetuning counts, and so does the round's own longer SFT."""
    recipe = load_recipe("tiny")
    control = ControlRecipe(name="c", says="", extra_steps="specialists", put_into="sft")
    finetuning = sum(s.stage.steps for s in recipe.specialists)
    skills = {s.name: f"layer-{s.name}" for s in recipe.specialists}
    special = generalist(
        recipe,
        pretrain=jobs.specialised_source(recipe, "l", skills),
        extra=jobs.specialist_round_extra(recipe),
    )
    alone = generalist(recipe, extra=jobs.control_extra(recipe, control, rounds=3))
    assert steps(alone) == steps(special) + finetuning


def test_a_control_at_the_loops_compute_takes_the_loops_steps() -> None:
    recipe = load_recipe("tiny")
    control = ControlRecipe(name="c", says="", extra_steps="loop", put_into="sft")
    extra = jobs.control_extra(recipe, control, rounds=3)
    one = sum(recipe.stages[stage].steps for stage in STAGES)
    assert steps(generalist(recipe, extra=extra)) == 3 * one


def test_specialist_data_in_sft_is_visited_as_often_as_by_the_specialists() -> None:
    """The lengthened SFT stage visits each specialist's data as often as its finetuning did."""
    recipe = load_recipe("tiny")
    sizes = {recipe.data.sft: 300} | {s.dataset: 250 for s in recipe.specialists}
    control = ControlRecipe(
        name="c", says="", extra_steps="specialists", put_into="sft", specialist_data=True
    )
    extra = jobs.control_extra(recipe, control, rounds=3)["sft"]
    times = jobs.specialist_visits(recipe)
    sources = jobs.specialist_data(recipe, sizes, times=times)
    sft = recipe.stages["sft"]
    visits = (sft.steps + extra) * sft.batch_size
    epoch = sizes[recipe.data.sft] + sum(s.repeat * sizes[s.dataset] for s in sources)
    for source, specialist in zip(sources, recipe.specialists, strict=True):
        seen = visits * source.repeat * sizes[source.dataset] / epoch
        wanted = times * specialist.stage.steps * specialist.stage.batch_size
        assert abs(seen - wanted) / wanted < 0.02


def test_alignment_keeps_the_original_captions_in_every_round() -> None:
    recipe = load_recipe("tiny")
    job = generalist(recipe, pretrain=jobs.recaption_source(recipe, "layer-1"))
    assert job.train is not None
    align, pretrain, _ = job.train.stages
    assert align.sources[0].layers == []
    assert [use.layer for use in pretrain.sources[0].layers] == ["layer-1"]


def test_the_recaption_prompt_never_holds_the_alt_text() -> None:
    """The captioner sees the picture and an instruction only (paper, section 2.1)."""
    recipe = load_recipe("tiny")
    body = jobs.caption_job(recipe, name="n", token="t", model="m")
    assert body.prompts == recipe.captioning.prompts
