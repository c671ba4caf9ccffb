"""Model families, each with its real classes and processor: added, captioning, deployed, reopened.

The last test holds the table in docs/models.md to what the others found. To write it anew:

    VILA2_WRITE_DOCS=1 pytest tests/services/caption/families
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from services.platform.embedded import EmbeddedPlatform
from tests.support.models import tiny_preset
from tests.support.paths import REPOSITORY
from tests.support.tiny_families import FAMILIES
from tests.support.waiting import until
from vila2.client.add_model import add_directory
from vila2.client.submit import submit
from vila2.model.loading import load_model
from vila2.model.processors import open_processor
from vila2.schemas.rest.caption import DeploymentIn, Preview, PreviewIn
from vila2.schemas.sampling import Gate, Sampling

QUESTION = "What is in the image?"
TOKENS = 10
DOCUMENT = REPOSITORY / "docs" / "models.md"
_TABLE = re.compile(r"(?<=<!-- families -->\n).*?(?=<!-- end -->)", re.DOTALL)
# The composed layout of this platform's own trainer is a family like the others.
ALL = {**FAMILIES, "ours (composed)": lambda folder: tiny_preset.model(seed=0).save(folder)}
COLUMNS = ("added", "captions", "image", "deployed", "reopened")
FOUND: dict[str, dict[str, str]] = {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("families")
    draw_images(made / "images")
    return made


@pytest.fixture(scope="module")
def platform(folder: Path) -> Iterator[EmbeddedPlatform]:
    with EmbeddedPlatform(folder / "workspace") as opened:
        submit(opened.client, folder / "images", name="drawn", format="folder")
        yield opened


@pytest.fixture(scope="module", params=sorted(ALL))
def family(request: pytest.FixtureRequest, folder: Path) -> str:
    name: str = request.param
    ALL[name](folder / name)
    FOUND[name] = dict.fromkeys(COLUMNS, "✗")
    return name


def draw_images(folder: Path) -> None:
    """Four images of different shapes and content."""
    folder.mkdir()
    for number, (size, colour) in enumerate(
        (((96, 64), "red"), ((64, 96), "navy"), ((80, 80), "green"), ((120, 60), "orange"))
    ):
        image = Image.new("RGB", size, "white")
        box = (8 + 6 * number, 8, size[0] - 8, size[1] - 12)
        (ImageDraw.Draw(image).ellipse if number % 2 else ImageDraw.Draw(image).rectangle)(
            box, fill=colour
        )
        image.save(folder / f"i{number}.png")


def short(family: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", family.lower()).strip("-")


def previewed(platform: EmbeddedPlatform, model: str) -> Preview:
    return platform.client.caption.preview(
        PreviewIn(
            dataset="drawn",
            keys=["i0", "i1", "i2", "i3"],
            model=model,
            prompts=[QUESTION],
            sampling=Sampling(max_new_tokens=TOKENS),
            gate=Gate(attempts=1),
        )
    )


def test_it_is_added_with_what_is_known_of_it(
    platform: EmbeddedPlatform, folder: Path, family: str
) -> None:
    """Checked, asked about a test image, and registered under its short name."""
    made = add_directory(platform.client, folder / family, name=short(family))
    held = platform.client.training.model(short(family))
    assert (held.name, made.state) == (made.model, "ready")
    assert held.origin is not None
    assert held.origin.family
    assert held.origin.dtype == "F32"
    assert held.parameters > 100_000
    FOUND[family]["added"] = "✓"


def test_its_captions_are_those_of_generate(
    platform: EmbeddedPlatform, folder: Path, family: str
) -> None:
    """Of images of four shapes in one batch, against transformers' `generate` one by one."""
    from transformers import AutoModelForImageTextToText

    made = previewed(platform, short(family))
    processor = open_processor(folder / family)
    model = load_model(AutoModelForImageTextToText, folder / family).eval()
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    for caption in made.captions:
        with Image.open(folder / "images" / f"{caption.key}.png") as image:
            inputs = processor(text=[processor.apply_chat_template(chat)], images=[image])
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        new = ids[0, inputs["input_ids"].shape[1] :]
        text = processor.tokenizer.decode(new, skip_special_tokens=True).strip()
        assert caption.caption == text
        assert caption.tokens <= TOKENS
    FOUND[family]["captions"] = "✓"


def test_its_answers_depend_on_the_image(platform: EmbeddedPlatform, family: str) -> None:
    """The same question about other images: other log-probabilities, or other words."""
    made = previewed(platform, short(family)).captions
    assert len({(caption.caption, round(caption.logprob or 0.0, 4)) for caption in made}) > 1
    FOUND[family]["image"] = "✓"


def test_it_is_deployed_and_answers_by_its_endpoint(
    platform: EmbeddedPlatform, family: str
) -> None:
    caption = platform.client.caption
    asked = caption.deploy(short(family) + "-live", DeploymentIn(model=short(family)))
    until(lambda: caption.deployment(asked.id).state in ("active", "failed"), seconds=60)
    assert caption.deployment(asked.id).state == "active", caption.deployment(asked.id).error
    by_endpoint = previewed(platform, short(family) + "-live")
    assert by_endpoint.captions == previewed(platform, short(family)).captions
    FOUND[family]["deployed"] = "✓"


def test_it_is_opened_again_from_what_is_stored(
    platform: EmbeddedPlatform, folder: Path, family: str
) -> None:
    """Downloaded, added under another name, and the same captions."""
    client = platform.client
    client.training.download_model(short(family), folder / f"{family}-again")
    add_directory(client, folder / f"{family}-again", name=short(family) + "-again")
    again = previewed(platform, short(family) + "-again")
    assert again.captions == previewed(platform, short(family)).captions
    FOUND[family]["reopened"] = "✓"


def test_the_table_of_the_docs_says_what_was_found() -> None:
    if set(FOUND) != set(ALL):
        pytest.skip("only some families were run")
    rows = [
        "| family | added | captions as by `generate` | image matters | deployed | reopened |",
        "|---|---|---|---|---|---|",
        *(f"| {name} | {' | '.join(FOUND[name][c] for c in COLUMNS)} |" for name in sorted(FOUND)),
    ]
    table = "\n".join(rows) + "\n"
    text = DOCUMENT.read_text()
    if os.environ.get("VILA2_WRITE_DOCS"):
        DOCUMENT.write_text(_TABLE.sub(table, text))
    found = _TABLE.search(DOCUMENT.read_text())
    assert found is not None
    assert found[0] == table
