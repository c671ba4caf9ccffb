"""Texts about a scene: dense captions, noisy alt-text, questions, specialists' answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vila2.scenes.world import COLOURS, CORNERS, SHAPES, SIDE, Scene, Thing

CAPTION_PROMPTS = (
    "Describe the image in detail.",
    "List every object in the image.",
    "What does the image show?",
)
SPATIAL_PROMPTS = (
    "Describe where the objects are.",
    "Explain the positions of all objects.",
    "Which corner is each object in?",
)
OCR_PROMPTS = (
    "What number is in the image?",
    "Read the text in the image.",
    "Which number is printed?",
)
GROUNDING_PROMPTS = (
    "Describe the objects with boxes.",
    "Name every object and give its box.",
    "Locate all objects with [xmin,ymin,xmax,ymax].",
)

_JUNK = (
    "photo", "image", "image of the day", "free shipping", "click here", "buy now",
    "best price", "stock photo", "untitled", "new arrival",
)  # fmt: skip


def dense_caption(scene: Scene) -> str:
    """Every object with size, colour and shape, and the background."""
    named = [f"a {thing.size} {thing.colour} {thing.shape}" for thing in scene.things]
    return f"{_listed(named)} on a {scene.background} background."


def alt_text(scene: Scene, rng: np.random.Generator, *, junk: float, wrong: float) -> str:
    """Web-like alt-text: junk, or two or three words about one object, at times false."""
    if rng.random() < junk:
        return str(rng.choice(_JUNK))
    thing = scene.things[int(rng.integers(len(scene.things)))]
    colour, shape = thing.colour, thing.shape
    if rng.random() < wrong:
        colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
    return [f"{colour} {shape}", shape, f"a {colour} {shape}", f"nice {shape}"][rng.integers(4)]


def spatial_text(scene: Scene) -> str:
    """In which corner each object is."""
    return _listed([f"{t.name} {CORNERS[t.corner]}" for t in scene.things]) + "."


def ocr_text(scene: Scene) -> str:
    """The printed number alone, so that no other word shares its loss, or `none`."""
    return str(scene.number) if scene.number is not None else "none"


def grounding_text(scene: Scene) -> str:
    """Every object with its box."""
    return "; ".join(f"{thing.name} {box_text(thing)}" for thing in scene.things) + "."


def box_text(thing: Thing) -> str:
    """The paper's box format: integers 000-999, here on the grid of the image's pixels."""
    values = [min(999, round(round(value) * 1000 / SIDE)) for value in thing.box]
    return "[" + ",".join(f"{value:03d}" for value in values) + "]"


def general_questions(scene: Scene, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """(kind, question, answer) that a generalist should know; one of each kind."""
    thing = scene.things[int(rng.integers(len(scene.things)))]
    made = [("count", "How many objects are there?", str(len(scene.things)))]
    same_shape = [t for t in scene.things if t.shape == thing.shape]
    if len(same_shape) == 1:
        made.append(("colour", f"What color is the {thing.shape}?", thing.colour))
    same_colour = [t for t in scene.things if t.colour == thing.colour]
    if len(same_colour) == 1:
        made.append(("shape", f"What shape is {thing.colour}?", thing.shape))
    made.append(("size", f"What size is the {thing.name}?", thing.size))
    made.append(("background", "What color is the background?", scene.background))
    if rng.random() < 0.5:
        made.append(("exists", f"Is there a {thing.name}?", "yes"))
    else:
        held = {t.name for t in scene.things}
        absent = [f"{c} {s}" for c in COLOURS for s in SHAPES if f"{c} {s}" not in held]
        made.append(("exists", f"Is there a {absent[rng.integers(len(absent))]}?", "no"))
    return made


def direct_questions(scene: Scene) -> dict[str, list[tuple[str, str]]]:
    """skill -> all (question, answer) in the direct form in which a benchmark asks about it."""
    return {
        "spatial": [(f"Where is the {t.name}?", CORNERS[t.corner]) for t in scene.things],
        "ocr": [(OCR_PROMPTS[0], ocr_text(scene))],
        "grounding": [(f"Give the box of the {t.name}.", box_text(t)) for t in scene.things],
    }


def _listed(parts: Sequence[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return ", ".join(parts[:-1]) + " and " + parts[-1]
