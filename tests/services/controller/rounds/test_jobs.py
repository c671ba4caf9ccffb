"""Equal budgets: what a control may spend, and what a round is trained on."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.controller.rounds import requests as jobs
from vila2.recipes.recipe import STAGES, ControlRecipe, Recipe, load_recipe
from vila2.schemas.assembly import Assembly
from vila2.schemas.rest.training import JobIn


def steps(job: JobIn) -> int:
    assert job.train is not None
    return sum(stage.steps for stage in job.train.stages)


def generalist(recipe: Recipe, **options: object) -> JobIn:
    return jobs.generalist_job(
        recipe,
        name="n",
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


def test_the_papers_other_data_are_aligned_and_pretrained_on_but_never_recaptioned() -> None:
    recipe = load_recipe("vila2-8b")
    job = generalist(recipe, pretrain=jobs.recaption_source(recipe, "layer-1"))
    assert job.train is not None
    align, pretrain, _ = job.train.stages
    assert [source.dataset for source in align.sources] == ["llava-align-595k"]
    read = {source.dataset: [use.layer for use in source.layers] for source in pretrain.sources}
    assert read == {"coyo-25m": ["layer-1"], "mmc4-core": [], "sharegpt4v-pt": []}


def test_accumulated_captions_are_those_of_all_rounds_so_far_filtered_alike() -> None:
    recipe = load_recipe("beyond")
    layers = ["layer-1", "layer-2", "layer-3"]
    earlier = jobs.earlier_layers(recipe, "layer-2", layers)
    source = jobs.recaption_source(recipe, "layer-2", earlier=earlier)
    assert [use.layer for use in source.layers] == ["layer-2", "layer-1"]
    assembly = Assembly.model_validate(source.assembly)
    assert assembly.layers() == [use.alias for use in source.layers]
    assert set(source.keep_fraction.values()) == {0.8}
    assert set(source.keep_by) == set(source.keep_fraction) == set(assembly.layers())


def test_without_accumulation_a_round_reads_the_newest_captions_alone() -> None:
    recipe = load_recipe("vila2-8b")
    assert jobs.earlier_layers(recipe, "layer-2", ["layer-1", "layer-2"]) == []
    assert jobs.earlier_layers(load_recipe("beyond"), "of-another-run", ["layer-1"]) == []


def test_answers_go_to_the_original_caption_where_no_general_one_is_asked_for() -> None:
    """As in the paper's final models (section 3.3)."""
    recipe = load_recipe("vila2-8b")
    source = jobs.specialised_source(recipe, "layer-4", {"ocr": "o", "spatial": "s"})
    assert [use.layer for use in source.layers] == ["o", "s"]


def test_the_recaption_prompt_never_holds_the_alt_text() -> None:
    """The captioner sees the image and an instruction only (paper, section 2.1)."""
    recipe = load_recipe("tiny")
    body = jobs.caption_job(recipe, name="n", model="m")
    assert body.prompts == recipe.captioning.prompts


def kept_by(**captioning: object) -> Recipe:
    tiny = load_recipe("tiny").model_dump()
    return Recipe.model_validate({**tiny, "captioning": {**tiny["captioning"], **captioning}})


def test_keeping_by_consistency_asks_for_scores_and_says_so_to_the_trainer() -> None:
    """Of the round's own captions alone; the specialists' answers are kept by confidence."""
    recipe = kept_by(keep_by="consistency", keep_fraction=0.5)
    assert jobs.caption_job(recipe, name="n", model="m").score
    assert jobs.recaption_source(recipe, "l").keep_by == {"self": "consistency"}
    skills = {s.name: f"layer-{s.name}" for s in recipe.specialists}
    assert jobs.specialised_source(recipe, "l", skills).keep_by == {"self": "consistency"}


def test_nothing_is_scored_where_nothing_is_left_out_by_it() -> None:
    """The default keeps by log-probability, and keeping all keeps by nothing."""
    for recipe in (kept_by(keep_fraction=0.5), kept_by(keep_by="consistency")):
        assert not jobs.caption_job(recipe, name="n", model="m").score
        assert jobs.recaption_source(recipe, "l").keep_by == {}


def test_a_bound_for_captions_does_not_judge_the_specialists() -> None:
    """A number or a box has another scale."""
    tiny = load_recipe("tiny")
    gate = {**tiny.captioning.gate.model_dump(), "min_consistency": 0.1}
    recipe = kept_by(gate=gate)
    job = jobs.caption_job(recipe, name="n", model="m")
    special = jobs.specialist_job(recipe, recipe.specialists[0], name="n", parent="m")
    assert (job.gate.min_consistency, special.gate.min_consistency) == (0.1, None)
    assert special.gate.model_copy(update={"min_consistency": 0.1}) == job.gate


@pytest.mark.parametrize(
    ("captioning", "field"),
    [
        ({"keep_by": "hope"}, "keep_by"),
        ({"gate": {"min_consistency": "high"}}, "min_consistency"),
        ({"gate": {"min_consistency": float("nan")}}, "min_consistency"),
    ],
)
def test_a_recipe_with_a_wrong_filter_is_refused_by_the_field(
    captioning: dict[str, object], field: str
) -> None:
    with pytest.raises(ValidationError, match=field):
        kept_by(**captioning)
