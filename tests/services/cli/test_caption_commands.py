"""`vila2 caption` and the commands on caption jobs, typed in a workspace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.platform.embedded import EmbeddedPlatform
from tests.support.caption_platform import register_model
from tests.support.embedded_platform import images, submitted
from vila2.cli.main import app

RUN = CliRunner()


class Typing:
    """Commands on a workspace with five images and a model that was never trained."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model

    def __call__(self, *words: str, code: int = 0) -> Result:
        done = RUN.invoke(app, [*words, "-w", str(self.folder / "w")])
        assert done.exit_code == code, f"{done.output}{done.exception}"
        return done

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json").stdout)

    def caption(self, *more: str) -> Any:
        return self.json("caption", "foxes", "--model", self.model, "--max-new-tokens", "6", *more)


@pytest.fixture(scope="module")
def typing(tmp_path_factory: pytest.TempPathFactory) -> Typing:
    folder = tmp_path_factory.mktemp("typing")
    with EmbeddedPlatform(folder / "w") as platform:
        model = register_model(platform, folder / "model", number=1)
        submitted(platform.client, images(folder / "foxes", count=5), name="foxes")
    return Typing(folder, model)


def test_the_same_command_finds_its_job_and_another_prompt_starts_one(typing: Typing) -> None:
    first = typing.caption()
    assert (first["state"], first["progress"]["done"]) == ("sealed", 5)
    assert typing.caption()["id"] == first["id"]
    assert typing.caption("--prompt", "What is this?")["id"] != first["id"]
    assert first["id"] in [job["id"] for job in typing.json("captions", "jobs")]


def test_an_estimate_is_for_the_whole_version_and_makes_no_layer(typing: Typing) -> None:
    before = typing.json("captions", "list")
    told = typing.caption("--estimate")
    assert (told["samples"], told["sampled"]) == (5, 5)
    assert told["tokens"] > 0
    assert typing.json("captions", "list") == before


def test_quarantined_samples_are_tried_again_with_another_seed(typing: Typing) -> None:
    """Into a layer that takes over what was captioned."""
    first = typing.caption("--name", "retried", "--attempts", "1", "--temperature", "1.0")
    assert sum(first["quarantined"].values())
    again = typing.json("captions", "retry", "foxes", "--job", first["id"])
    assert again["id"] != first["id"]
    assert again["captioned"] >= first["captioned"]
    assert again["captioned"] + sum(again["quarantined"].values()) == 5


def test_prompts_come_from_a_file_with_a_system_message(typing: Typing, tmp_path: Path) -> None:
    """A model that takes no system message says so before anything is captioned."""
    file = tmp_path / "prompts.yaml"
    file.write_text("- What is in the image?\n- Describe it.\n")
    shown = typing.json("captions", "preview", "foxes", "--model", typing.model,
                        "--prompts", str(file), "--count", "5")  # fmt: skip
    assert {made["prompt"] for made in shown["captions"]} <= {
        "What is in the image?", "Describe it.",
    }  # fmt: skip
    file.write_text("prompts: ['What?']\nsystem: be brief\n")
    refused = typing("captions", "preview", "foxes", "--model", typing.model,
                     "--prompts", str(file), code=1)  # fmt: skip
    assert "without system messages" in str(refused.exception)


@pytest.mark.parametrize(
    "text", ["[]", "prompts: ''", "- ''", "- 3", "question: what?", "a: [b", "system: x"]
)
def test_a_file_of_prompts_that_is_none_is_refused(
    typing: Typing, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text(text)
    refused = typing("caption", "foxes", "--model", typing.model, "--prompts", str(file), code=1)
    assert "--prompts" in str(refused.exception)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("caption", "foxes", "--model", "nobody"), "no model 'nobody'"),
        (("caption", "owls", "--model", "MODEL"), "owls"),
        (("caption", "foxes@x", "--model", "MODEL"), "as a number"),
        (("caption", "foxes", "--model", "MODEL", "--budget", "1"), "has no prices"),
        (("captions", "retry", "owls"), "no caption job of owls"),
        (("models", "add"), "or --endpoint URL"),
        (("models", "add", "--endpoint", "http://h/v1"), "needs --model"),
        (("models", "add", "nothing-here"), "no directory here, no hub id"),
        (("models", "add", "--endpoint", "h/v1", "--model", "m"), "http:// or https://"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(
    typing: Typing, words: tuple[str, ...], told: str
) -> None:
    given = [typing.model if word == "MODEL" else word for word in words]
    assert told in str(typing(*given, code=1).exception)


def test_a_page_shows_images_beside_their_captions(typing: Typing, tmp_path: Path) -> None:
    typing.caption()
    typing("captions", "show", "foxes", "--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 5
    assert "fox 3" in page
    assert "<script" not in page
