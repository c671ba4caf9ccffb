"""The image world: scene graphs, and how a scene becomes 32x32 pixels.

An image has a 2x2 grid of corners; each holds at most one object or a printed number. Images of
one scene vary a lot: position, scale, colour and background jitter, texture and noise. Therefore a
few labelled images are not enough, and many unlabelled ones are useful.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 32
SHAPES = ("circle", "square", "triangle", "cross", "diamond", "ring")
COLOURS = {
    "red": (205, 50, 45),
    "green": (55, 155, 65),
    "blue": (50, 85, 205),
    "yellow": (225, 205, 60),
    "purple": (140, 60, 165),
    "orange": (230, 135, 45),
}
SIZES = {"small": 3.6, "large": 6.2}  # radius in pixels
BACKGROUNDS = {"gray": (128, 128, 128), "white": (215, 215, 215), "black": (45, 45, 45)}
CORNERS = ("top left", "top right", "bottom left", "bottom right")

# 3x5 bitmaps of the digits, row by row from the top.
_DIGITS = (
    "111101101101111", "010110010010111", "111001111100111", "111001111001111",
    "101101111001001", "111100111001111", "111100111101111", "111001010010010",
    "111101111101111", "111101111001111",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Nuisance:
    """How much images of the same scene differ; all in pixels or colour levels (0-255)."""

    shift: float = 0.96
    scale: float = 0.096
    colour: float = 15.6
    background: float = 16.8
    noise: float = 9.6
    texture: float = 13.2


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a scene; `box` is (left, top, right, bottom) in pixels, 0 to 32."""

    size: str
    colour: str
    shape: str
    corner: int
    box: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        """How a question refers to it: "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene graph: what an image shows, exactly. Things are in reading order."""

    things: tuple[Thing, ...]
    background: str
    number: int | None
    number_corner: int | None


def sample_scene(
    rng: np.random.Generator,
    *,
    nuisance: Nuisance,
    fewest: int = 1,
    most: int = 3,
    with_number: float = 0.5,
) -> Scene:
    """Draw a scene; no two things share both colour and shape, so every name is unique."""
    corners = [int(c) for c in rng.permutation(4)]
    count = int(rng.integers(fewest, most + 1))
    things: list[Thing] = []
    names: set[tuple[str, str]] = set()
    while len(things) < count:
        colour = str(rng.choice(list(COLOURS)))
        shape = str(rng.choice(SHAPES))
        if (colour, shape) in names:
            continue
        names.add((colour, shape))
        size = str(rng.choice(list(SIZES)))
        corner = corners[len(things)]
        radius = SIZES[size] * (1 + rng.uniform(-nuisance.scale, nuisance.scale))
        shift = rng.uniform(-nuisance.shift, nuisance.shift, 2)
        x = 8 + 16 * (corner % 2) + shift[0]
        y = 8 + 16 * (corner // 2) + shift[1]
        edges = np.clip([x - radius, y - radius, x + radius, y + radius], 0, SIDE)
        left, top, right, bottom = (float(edge) for edge in edges)
        box = (left, top, right, bottom)
        things.append(Thing(size, colour, shape, corner, box))
    number = int(rng.integers(10)) if rng.random() < with_number else None
    return Scene(
        tuple(sorted(things, key=lambda thing: thing.corner)),
        str(rng.choice(list(BACKGROUNDS))),
        number,
        corners[count] if number is not None else None,
    )


def render(scene: Scene, rng: np.random.Generator, *, nuisance: Nuisance) -> np.ndarray:
    """Draw a scene as uint8 (32, 32, 3) RGB."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    base = np.array(BACKGROUNDS[scene.background], dtype=np.float64)
    image = np.broadcast_to(base, (SIDE, SIDE, 3)).copy()
    image += rng.uniform(-nuisance.background, nuisance.background, 3)
    image += _texture(rng, nuisance.texture)[..., None]
    for thing in scene.things:
        left, top, right, bottom = thing.box
        x, y = (left + right) / 2, (top + bottom) / 2
        radius = max(right - left, bottom - top) / 2
        mask = _mask(thing.shape, (columns - x) / radius, (rows - y) / radius, radius)
        ink = np.array(COLOURS[thing.colour]) + rng.uniform(-nuisance.colour, nuisance.colour, 3)
        image = image * (1 - mask[..., None]) + ink * mask[..., None]
    if scene.number is not None and scene.number_corner is not None:
        dark = scene.background != "black"
        _print_number(image, scene.number, scene.number_corner, rng, nuisance, dark=dark)
    image += rng.normal(0, nuisance.noise, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def _texture(rng: np.random.Generator, strength: float) -> np.ndarray:
    """A smooth random field: one plane wave of random direction and length."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    angle, waves = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 4)
    phase = 2 * np.pi * (waves * (np.cos(angle) * columns + np.sin(angle) * rows) + rng.random())
    field: np.ndarray = np.sin(phase) * rng.uniform(0, strength)
    return field


def _mask(shape: str, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Coverage 0..1 of a shape over coordinates where it spans -1..1; edges a pixel soft."""
    distance = np.hypot(u, v)
    inside = {
        "circle": 1 - distance,
        "square": 0.86 - np.maximum(abs(u), abs(v)),
        "triangle": np.minimum(0.9 - v, (v + 1.0) / 2 - abs(u)),
        "cross": np.maximum(
            np.minimum(0.32 - abs(u), 1 - abs(v)), np.minimum(0.32 - abs(v), 1 - abs(u))
        ),
        "diamond": 1 - abs(u) - abs(v),
        "ring": np.minimum(1 - distance, distance - 0.55),
    }[shape]
    coverage: np.ndarray = np.clip(inside * radius + 0.5, 0, 1)
    return coverage


def _print_number(
    image: np.ndarray,
    number: int,
    corner: int,
    rng: np.random.Generator,
    nuisance: Nuisance,
    *,
    dark: bool,
) -> None:
    """Print the number at twice the bitmap's size, dark on light or light on dark."""
    bits = np.array([int(bit) for bit in _DIGITS[number]]).reshape(5, 3)
    glyph = np.kron(bits, np.ones((2, 2)))
    reach = int(nuisance.shift)
    top = 3 + 16 * (corner // 2) + int(rng.integers(-reach, reach + 1))
    left = 5 + 16 * (corner % 2) + int(rng.integers(-reach, reach + 1))
    ink = rng.uniform(0, 50) if dark else rng.uniform(205, 255)
    patch = image[top : top + 10, left : left + 6]
    patch[glyph > 0] = ink
