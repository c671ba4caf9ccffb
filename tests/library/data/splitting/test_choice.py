"""Which images a split gets, and what they become there."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import image
from vila2.data.admission import Admission, admit
from vila2.data.errors import DataError
from vila2.data.sample import RawSample, Sample, Turn
from vila2.data.splitting.choice import Choice, choose
from vila2.data.splitting.plan import (
    QUESTION,
    SplitPlan,
    as_conversation,
    as_question,
    parse_splits,
)

IMAGES = [image(n) for n in range(40)]


def raws(count: int = 40) -> list[RawSample]:
    return [RawSample(f"k{n}", f"{n}.png", IMAGES[n], f"fox {n}") for n in range(count)]


def chosen(given: list[RawSample], text: str = "sft=10,test=10", seed: int = 0) -> Choice:
    return choose(given, parse_splits(text, seed=seed), Admission())


def members(choice: Choice, given: list[RawSample], split: str) -> set[bytes | None]:
    return {raw.image for raw in choice.part(given, split)}


@pytest.mark.parametrize("text", [
    "sft", "sft=", "=3", "sft=0", "sft=-1", "sft=x", "Sft=1", "a b=1", "sft=1,sft=2", "sft=1,",
    "sft=1=2", "sft=1.5", "sft=²",
])  # fmt: skip
def test_what_is_no_plan_is_refused_with_how_to_write_one(text: str) -> None:
    with pytest.raises(DataError, match="sft=300,test=300"):
        parse_splits(text)


def test_the_order_of_the_names_does_not_matter() -> None:
    assert parse_splits("test=2, sft=1") == SplitPlan({"sft": 1, "test": 2})
    assert list(parse_splits("test=2,sft=1").sizes) == ["sft", "test"]


@settings(max_examples=30, deadline=None)
@given(order=st.randoms(use_true_random=False), copies=st.integers(0, 10))
def test_the_choice_is_by_bytes_and_copies_stay_together(order: random.Random, copies: int) -> None:
    """Whatever the names and the order; each sample is in exactly one part."""
    again = [RawSample(f"copy{n}", f"c{n}.png", IMAGES[n], "other") for n in range(copies)]
    given = raws() + again
    first = chosen(raws())
    order.shuffle(given)
    second = chosen(given)
    parts = [members(second, given, split) for split in ("sft", "test", "")]
    assert [len(part) for part in parts] == [10, 10, 20]
    assert sum(len(list(second.part(given, split))) for split in ("sft", "test", "")) == len(given)
    assert parts == [members(first, given, split) for split in ("sft", "test", "")]


def test_another_seed_chooses_other_images() -> None:
    given = raws()
    one, other = chosen(given), chosen(given, seed=1)
    assert members(one, given, "sft") != members(other, given, "sft")


def test_only_what_is_admitted_with_a_text_can_be_chosen() -> None:
    """So that a split has as many samples as were asked for."""
    bad = [
        RawSample("a", "a.png", b"no image", "x"),
        RawSample("b", "b.png", image(99), " "),
        RawSample("c", "c.png", None, problem="file-unknown: x"),
    ]
    choice = choose([*bad, *raws(3)], parse_splits("a=2"), Admission(captionless=True))
    assert choice.available == 3
    assert all(choice.of(raw) == "" for raw in bad)


def test_more_than_there_is_names_the_numbers() -> None:
    plan = parse_splits("sft=300,test=1")
    with pytest.raises(
        DataError, match=r"301 images .* 300 for sft \+ 1 for test leave none for p"
    ):
        plan.check(301, "p")
    plan.check(302, "p")


def test_captions_become_turns_and_answers() -> None:
    """All of them; admission takes what comes out."""
    raw = RawSample("k", "k.png", IMAGES[0], "a fox", more_captions=("red fur", " "))
    talk = as_conversation(raw)
    assert talk.turns == (Turn(QUESTION, "a fox"), Turn(QUESTION, "red fur"))
    asked = as_question(raw, "photos-test")
    assert [item["answers"] for item in asked.items] == [["a fox", "red fur"]]
    for made in (talk, asked):
        assert isinstance(admit(made), Sample)
        assert not made.caption
    assert as_question(RawSample("k", "k.png", IMAGES[0]), "b").items == ()
