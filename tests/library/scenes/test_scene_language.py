"""What is said about scenes, held against the scorers that judge the answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vila2.data.answers import parse_boxes
from vila2.evaluation.metrics.scorers import parse_objects
from vila2.scenes import language as say
from vila2.scenes.world import Nuisance, Scene, sample_scene
from vila2.specialists import task_reason

seeds = st.integers(0, 2**32 - 1)


def scene_of(seed: int) -> Scene:
    return sample_scene(np.random.default_rng(seed), nuisance=Nuisance())


@given(seeds)
def test_the_scorer_reads_a_dense_caption_back_as_the_scenes_objects(seed: int) -> None:
    """Otherwise object F1 would measure the parser and not the caption."""
    scene = scene_of(seed)
    read = parse_objects(say.dense_caption(scene))
    assert set(read) == {(t.size, t.colour, t.shape) for t in scene.things}
    assert read.total() == len(scene.things)


@given(seeds)
def test_grounding_text_holds_one_valid_box_per_object(seed: int) -> None:
    """Boxes are in the paper's format: four integers from 000 to 999."""
    scene = scene_of(seed)
    text = say.grounding_text(scene)
    assert len(parse_boxes(text)) == len(scene.things)
    assert task_reason("grounding", text) is None


@given(seeds)
def test_a_true_specialist_text_passes_its_own_tasks_filter(seed: int) -> None:
    """The filter must not drop right answers; "no text" is the declared exception."""
    scene = scene_of(seed)
    assert task_reason("spatial", say.spatial_text(scene)) is None
    dropped = task_reason("ocr", say.ocr_text(scene))
    assert dropped == ("no-text" if scene.number is None else None)


@given(seeds)
def test_alt_text_never_tells_size_background_or_two_objects(seed: int) -> None:
    """It must leave something to recaption."""
    scene = scene_of(seed)
    text = say.alt_text(scene, np.random.default_rng(seed), junk=0.25, wrong=0.2)
    assert len(text.split()) <= 4
    assert parse_objects(text).total() <= 1
    assert not {"small", "large", "background"} & set(text.split())


def test_alt_text_is_junk_and_wrong_about_as_often_as_asked() -> None:
    """The corpus must be as noisy as the sizes say."""
    rng = np.random.default_rng(0)
    junk = true = 0
    for seed in range(1500):
        scene = scene_of(seed)
        objects = parse_objects(say.alt_text(scene, rng, junk=0.3, wrong=0.5))
        junk += not objects
        true += any(shape in {t.shape for t in scene.things} for _, _, shape in objects)
    assert 0.25 < junk / 1500 < 0.35
    # A wrong shape is drawn from all six, so it is right by luck at times.
    assert 0.6 < true / (1500 - junk) < 0.8


@given(seeds)
def test_questions_have_one_answer_in_the_scene(seed: int) -> None:
    """Asking for the colour of "the ring" where two rings are would be unfair."""
    scene = scene_of(seed)
    for kind, question, answer in say.general_questions(scene, np.random.default_rng(seed)):
        if kind == "colour":
            assert [t.colour for t in scene.things if f"the {t.shape}?" in question] == [answer]
        if kind == "shape":
            assert [t.shape for t in scene.things if f" {t.colour}?" in question] == [answer]
        if kind == "exists":
            there = any(f"a {t.name}?" in question for t in scene.things)
            assert answer == ("yes" if there else "no")
