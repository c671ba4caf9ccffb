"""The image world: scene graphs and their pixels."""

from __future__ import annotations

import numpy as np
import pytest

from vila2.scenes.world import COLOURS, SIDE, Nuisance, Scene, Thing, render, sample_scene

CALM = Nuisance(shift=0, scale=0, colour=0, background=0, noise=0, texture=0)


def scenes(count: int) -> list[Scene]:
    return [sample_scene(np.random.default_rng(i), nuisance=Nuisance()) for i in range(count)]


def test_every_object_of_a_scene_has_a_name_and_a_corner_of_its_own() -> None:
    """Questions name an object by colour and shape, so names must be unique in an image."""
    for scene in scenes(200):
        assert len({thing.name for thing in scene.things}) == len(scene.things)
        corners = [thing.corner for thing in scene.things]
        assert len({*corners, scene.number_corner}) == len(corners) + 1


def test_things_are_told_in_reading_order() -> None:
    """A caption has one right order, so that an exact comparison is fair."""
    for scene in scenes(100):
        assert [t.corner for t in scene.things] == sorted(t.corner for t in scene.things)


def test_boxes_lie_in_the_image_and_have_an_area() -> None:
    """A box outside the image could never be answered."""
    for scene in scenes(200):
        for left, top, right, bottom in (thing.box for thing in scene.things):
            assert 0 <= left < right <= SIDE
            assert 0 <= top < bottom <= SIDE


@pytest.mark.parametrize("shape", ["circle", "square", "triangle", "cross", "diamond", "ring"])
def test_an_object_is_drawn_inside_its_box_in_its_colour(shape: str) -> None:
    """The box and the colour in the truth are those of the pixels."""
    thing = Thing("large", "red", shape, 0, (2.0, 2.0, 14.0, 14.0))
    pixels = render(Scene((thing,), "black", None, None), np.random.default_rng(0), nuisance=CALM)
    drawn = np.abs(pixels.astype(int) - np.array([45, 45, 45])).sum(-1) > 60
    rows, columns = np.nonzero(drawn)
    assert rows.min() >= 1
    assert columns.min() >= 1
    assert rows.max() <= 14
    assert columns.max() <= 14
    assert rows.max() - rows.min() >= 8
    strongest = pixels[drawn].astype(int)
    assert np.abs(strongest - np.array(COLOURS["red"])).sum(-1).min() <= 3


def test_images_of_one_scene_differ_only_through_the_render_stream() -> None:
    """The same stream gives the same pixels; another stream other nuisance."""
    scene = scenes(1)[0]
    first, again, other = (
        render(scene, np.random.default_rng(seed), nuisance=Nuisance()) for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_each_digit_has_its_own_print() -> None:
    """Ten numbers give ten images."""
    images = {
        render(Scene((), "white", number, 0), np.random.default_rng(0), nuisance=CALM).tobytes()
        for number in range(10)
    }
    assert len(images) == 10
