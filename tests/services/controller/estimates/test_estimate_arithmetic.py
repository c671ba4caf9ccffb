"""The arithmetic of estimates: ranges contain their middle, and more work never costs less."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.controller.estimates.arithmetic import (
    DEVICES,
    History,
    Lengths,
    Observed,
    Speed,
    adjusted,
    assumed_caption,
    at_most,
    by_flops,
    exactly,
    for_length,
    mean_of,
    measured_stage,
    perhaps,
    plus,
    spread_of,
    times,
)
from services.controller.estimates.work import (
    Phase,
    Rates,
    Training,
    fewest_rounds,
    line_of,
    phases,
    text_tokens,
    total_of,
)
from vila2.recipes.recipe import Recipe, load_recipe
from vila2.schemas.rest.estimates import Estimate, Line, Range, Total

numbers = st.floats(0, 1e9, allow_nan=False)
ranges = st.lists(numbers, min_size=3, max_size=3).map(
    lambda ends: Range(**dict(zip(("low", "mid", "high"), sorted(ends), strict=True)))
)


@given(left=ranges, right=ranges, number=numbers)
def test_every_operation_keeps_the_middle_within(left: Range, right: Range, number: float) -> None:
    """`Range` itself refuses what is not ordered, so making one is the check."""
    for made in (
        plus([left, right]), times(left, right), times(left, number), at_most(left, number),
        perhaps(left),
    ):  # fmt: skip
        assert made.low <= made.mid <= made.high


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_samples_mean_and_spread_contain_it(values: list[float]) -> None:
    mean, spread = mean_of(values), spread_of(values)
    assert mean.low <= mean.mid <= mean.high
    assert spread.low <= min(values)
    assert spread.high >= max(values)


def test_the_interval_of_a_mean_holds_as_often_as_it_says() -> None:
    """The mean of 0..99 is within the interval of a sample of 50 in 95 of 100 samples, or so."""
    import random

    rng = random.Random(0)
    population = [float(n) for n in range(100)]
    held = [mean_of(rng.choices(population, k=50)) for _ in range(1000)]
    share = sum(each.low <= 49.5 <= each.high for each in held) / len(held)
    assert 0.93 < share < 0.97


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
@given(mfu=st.floats(0.01, 1.0), flops=st.floats(1, 1e20))
def test_a_stated_mfu_lies_within_its_range(device: Any, mfu: float, flops: float) -> None:
    known = adjusted(device, peak_tflops=100.0, mfu=mfu)
    seconds = by_flops(flops, known, known.training)
    assert seconds.low <= flops / (1e14 * mfu) * (1 + 1e-9)
    assert seconds.high >= flops / (1e14 * mfu) * (1 - 1e-9)


@given(seconds=ranges, sampled=ranges, tokens=ranges)
def test_a_longer_caption_never_takes_less(seconds: Range, sampled: Range, tokens: Range) -> None:
    shorter = for_length(seconds, sampled, tokens)
    longer = for_length(seconds, sampled, times(tokens, 2))
    assert shorter.mid <= longer.mid
    assert shorter.high <= longer.high


@given(most=st.integers(1, 4096))
def test_an_assumed_caption_is_never_longer_than_it_may_be(most: int) -> None:
    assert assumed_caption(most).high == most


def test_the_papers_captioning_speed_follows_from_the_assumption() -> None:
    """10.6 images a second on an H100 (section 3.6) for the 8B, within a tenth."""
    from vila2.model.memory import forward_flops
    from vila2.model.plan import meta_model, shapes
    from vila2.model.preset import load_preset

    preset = load_preset("vila2-8b")
    parts = forward_flops(shapes(meta_model(preset), preset), text_tokens=20 + 169)
    flops = sum(weights + attention for weights, attention in parts.values())
    seconds = by_flops(flops, DEVICES["h100"], DEVICES["h100"].captioning)
    assert 1 / seconds.mid == pytest.approx(10.6, rel=0.1)


def test_a_stage_that_ran_before_is_measured_by_its_own_name_first() -> None:
    everything = frozenset({"vision", "projector", "language"})
    history = History(
        [
            Observed("sft", everything, 30.0, 100),
            Observed("sft", everything, 10.0, 100),
            Observed("base", everything, 500.0, 100),
        ]
    )
    speed = measured_stage(history, "sft", list(everything))
    assert speed is not None
    assert speed.seconds == Range(low=0.1, mid=0.2, high=0.3)
    spatial = measured_stage(history, "spatial", list(everything))
    assert spatial is not None
    assert spatial.seconds.high == 5.0
    assert measured_stage(history, "align", ["projector"]) is None


def rates(**changes: Any) -> Rates:
    second = Speed(Range(low=0.5, mid=1.0, high=2.0), "measured", "made up")
    made: dict[str, Any] = {
        "lengths": Lengths(
            words={"scenes-corpus": 3.0}, tokens_per_word=2.0,
            caption=Range(low=8, mid=10, high=12),
        ),
        "visit": lambda training, text: second,
        "caption": lambda tokens: second,
        "question": second,
        "overhead": Speed(exactly(5.0), "measured", ""),
        "processes": 1,
        "captioners": 1,
        "price_per_hour": 2.0,
        "sampled_tokens": True,
    }  # fmt: skip
    return Rates(**{**made, **changes})


def estimated(recipe: Recipe, *, images: int = 1000, questions: int = 100, **how: Any) -> Total:
    sizes = dict.fromkeys(recipe.datasets(), 50) | {recipe.data.pretrain: images}
    return total_of([line_of(phase, rates(**how)) for phase in phases(recipe, sizes, questions)])


def ends(value: Range) -> tuple[float, float, float]:
    return value.low, value.mid, value.high


@settings(max_examples=25, deadline=None)
@given(images=st.integers(1, 10**8), more=st.integers(0, 10**8))
def test_more_images_never_cost_less(images: int, more: int) -> None:
    tiny = load_recipe("tiny")
    few, many = (estimated(tiny, images=count) for count in (images, images + more))
    for field in Total.model_fields:
        less, not_less = getattr(few, field), getattr(many, field)
        assert all(a <= b for a, b in zip(ends(less), ends(not_less), strict=True))


@settings(max_examples=20, deadline=None)
@given(maximum=st.integers(1, 6), patience=st.integers(1, 6))
def test_more_rounds_change_the_high_end_and_patience_the_low_one(
    maximum: int, patience: int
) -> None:
    tiny = load_recipe("tiny")

    def total(most: int, wait: int) -> Total:
        limits = tiny.rounds.model_copy(update={"maximum": most, "patience": wait})
        return estimated(tiny.model_copy(update={"rounds": limits}))

    now = total(maximum, patience)
    assert total(maximum + 1, patience).captioned.high > now.captioned.high
    assert total(maximum, patience + 1).captioned.low >= now.captioned.low
    assert now.captioned.low <= now.captioned.mid == now.captioned.high


@settings(max_examples=20, deadline=None)
@given(seeds=st.integers(2, 8))
def test_seeds_multiply_what_rounds_are_trained_and_evaluated_and_nothing_else(seeds: int) -> None:
    """Not captions, which the first seed's model makes, nor the base and the specialists."""
    tiny = load_recipe("tiny")
    more = tiny.model_copy(update={"rounds": tiny.rounds.model_copy(update={"seeds": seeds})})
    sizes = dict.fromkeys(tiny.datasets(), 10)
    for one, several in zip(phases(tiny, sizes, 10), phases(more, sizes, 10), strict=True):
        before, after = line_of(one, rates()), line_of(several, rates())
        shared = one.work == "captioning" or one.what or one.round == "base"
        times_over = 1 if shared else seeds
        for field in ("images", "hours", "wall_hours"):
            wanted = [times_over * value for value in ends(getattr(before, field))]
            assert list(ends(getattr(after, field))) == pytest.approx(wanted)


def test_money_is_hours_times_the_price_and_nothing_without_one() -> None:
    tiny = load_recipe("tiny")
    priced, free = estimated(tiny), estimated(tiny, price_per_hour=None)
    assert priced.money is not None
    assert priced.money.mid == pytest.approx(2.0 * priced.hours.mid)
    assert free.money is None


def test_more_devices_shorten_the_wait_and_not_the_hours() -> None:
    tiny = load_recipe("tiny")
    one, ten = estimated(tiny), estimated(tiny, processes=10, captioners=10)
    assert ten.hours == one.hours
    assert ten.wall_hours.mid < one.wall_hours.mid


@pytest.mark.parametrize("name", ["tiny", "photos", "vila2-8b", "vila2-40b", "beyond"])
def test_every_round_that_a_run_can_have_is_a_line(name: str) -> None:
    recipe = load_recipe(name)
    sizes = dict.fromkeys(recipe.datasets(), 10)
    made = phases(recipe, sizes, 10)
    rounds = {phase.round for phase in made if phase.work == "evaluation"}
    wanted = {f"round {number}" for number in range(recipe.rounds.maximum + 1)}
    wanted |= {control.name for control in recipe.controls}
    assert rounds == wanted | ({"specialists"} if recipe.specialists else set())
    unsure = {phase.round for phase in made if not phase.certain}
    first_unsure = fewest_rounds(recipe) + 1
    assert unsure == {f"round {n}" for n in range(first_unsure, recipe.rounds.maximum + 1)}


def test_a_visit_reads_what_the_assembly_joins() -> None:
    lengths = Lengths(words={"d": 3.0}, tokens_per_word=2.0, caption=exactly(10))
    plain = Training("pretrain", exactly(1), ("language",), "d")
    mixed = Training("pretrain", exactly(1), ("language",), "d", caption_share=0.8)
    alone = Training("pretrain", exactly(1), ("language",), "d", alt_text=False, caption_share=1.0)
    skilled = Training("pretrain", exactly(1), ("language",), "d", answers=("ocr", "spatial"))
    half = Training("pretrain", exactly(1), ("language",), "d", caption_share=1.0, corpus_share=0.5)
    found = [text_tokens(t, lengths).mid for t in (plain, mixed, alone, skilled, half)]
    assert found == [6.0, 14.0, 10.0, 26.0, 11.0]


def test_data_that_nobody_recaptions_take_their_share_of_the_visits() -> None:
    """25M of COYO beside 25M of MMC4 and 1M of ShareGPT4V-PT: about half."""
    recipe = load_recipe("vila2-8b")
    sizes = dict.fromkeys(recipe.datasets(), 1) | {
        "coyo-25m": 25_000_000, "mmc4-core": 25_000_000, "sharegpt4v-pt": 1_000_000,
    }  # fmt: skip
    made = {(p.round, p.work): p for p in phases(recipe, sizes, 1)}
    pretrain = made["round 1", "training"].trainings[1]
    assert pretrain.corpus_share == pytest.approx(25 / 51)
    assert pretrain.caption_share == 1.0


def test_a_line_is_measured_only_if_all_of_it_is() -> None:
    phase = Phase("round 0", "training", True, trainings=(
        Training("sft", exactly(10), ("language",), "scenes-corpus"),))  # fmt: skip
    guess = Speed(exactly(1), "assumed", "a guess")
    assert line_of(phase, rates()).basis == "measured"
    assert line_of(phase, rates(visit=lambda training, text: guess)).basis == "assumed"


def test_an_estimate_says_what_its_ranges_mean() -> None:
    """In the document itself, so that nobody takes them for something else."""
    assert "ranges" in Estimate.model_fields
    assert {"basis", "says"} <= set(Line.model_fields)
