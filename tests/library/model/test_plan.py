"""Plans: exact parameter counts without weights, and what the command says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.models.checkpoints import LLAMA, SIGLIP, save_language, save_siglip
from vila2.cli.connection.workspace import CliError
from vila2.cli.main import app
from vila2.model.build import PARTS, compose
from vila2.model.plan import meta_model, shapes
from vila2.model.preset import Preset, PresetError, load_preset

RUN = CliRunner()
PLAN = ["models", "plan", "--gpus", "64"]


@pytest.mark.parametrize(
    ("name", "tokens", "vision", "language"),
    [
        # The published numbers, less SigLIP's pooling head and with our tokens' rows.
        ("vila2-2b", 196, 428_225_600 - 15_238_352 + 55 * 1152, 1_720_574_976),
        ("vila2-8b", 196, 428_225_600 - 15_238_352 + 55 * 1152, 8_030_261_248 + 64 * 2 * 4096),
        ("vila2-40b", 256, 5_536_496_000, 34_388_917_248 + 64 * 2 * 7168),
    ],
)
def test_the_papers_sizes_are_counted_exactly(
    name: str, tokens: int, vision: int, language: int
) -> None:
    preset = load_preset(name)
    sizes = shapes(meta_model(preset), preset)
    assert sizes.image_tokens == tokens
    assert sizes.parts["vision"].parameters == vision
    assert sizes.parts["language"].parameters == language
    for part, known in preset.published.items():
        assert sizes.parts[part].parameters == pytest.approx(known.parameters, rel=0.04)  # type: ignore[index]


def test_a_plan_counts_what_is_composed_later(tmp_path: Path) -> None:
    """The same preset, first without its checkpoints and then with them."""
    save_siglip(tmp_path / "siglip")
    rows = len(save_language(tmp_path / "llama", tied=False)["lm_head.weight"])
    parts = {
        "vision": ("siglip", "siglip_vision_model", SIGLIP),
        "language": ("llama", "llama", {**LLAMA, "vocab_size": rows, "tie_word_embeddings": False}),
    }
    preset = Preset.model_validate(
        {
            "name": "small",
            "image_size": 40,
            **{
                part: {
                    "kind": "checkpoint",
                    "path": str(tmp_path / folder),
                    "model_type": kind,
                    "config": config,
                }
                for part, (folder, kind, config) in parts.items()
            },
        }
    )
    planned = shapes(meta_model(preset), preset)
    made = compose(preset, texts=(), seed=0)
    for part in PARTS:
        real = sum(p.numel() for _, p in made.parameters_of(part))
        assert planned.parts[part].parameters == real, part  # type: ignore[index]
    assert planned == shapes(made.model, preset)


def test_a_preset_that_does_not_say_what_is_in_its_checkpoint_has_no_plan() -> None:
    preset = load_preset("vila2-8b")
    blind = preset.model_copy(
        update={"vision": preset.vision.model_copy(update={"model_type": ""})}  # type: ignore[union-attr]
    )
    with pytest.raises(PresetError, match=r"vision.model_type is not set; set it"):
        meta_model(blind)


def test_a_plan_is_printed_with_its_sources() -> None:
    told = RUN.invoke(app, [*PLAN, "--preset", "vila2-8b"], env={"COLUMNS": "160"}).stdout
    for word in ("8,030,785,536", "8,030M", "(paper: 196)", "51,000,000 samples", "GPU-", "fsdp"):
        assert word in told


def test_a_plan_for_a_program_holds_the_same_numbers() -> None:
    options = ["--samples", "sft=1e6", "--text-tokens", "sft=100", "--gpu-memory", "40", "--json"]
    told = json.loads(RUN.invoke(app, [*PLAN, "--preset", "vila2-8b", *options]).stdout)
    assert told["stages"][2]["samples"] == 1_000_000
    assert told["stages"][2]["text_tokens"] == 100
    row = told["rows"][-1]
    assert row["flops"] == row["flops_per_sample"] * 1_000_000
    assert row["fits"] == (row["memory"]["total"] <= 0.9 * 40 * 2**30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "huge"], "unknown preset 'huge': use one of"),
        (["--preset", "photos"], "no plan for a vila2_efficientnet_lite tower"),
        (["--preset", "tiny", "--samples", "warm=3"], "name one of align, pretrain, sft"),
        (["--preset", "tiny", "--samples", "sft=many"], "'many' is not a number"),
    ],
)
def test_what_cannot_be_planned_says_why(options: list[str], message: str) -> None:
    told = RUN.invoke(app, [*PLAN, *options])
    assert isinstance(told.exception, CliError)
    assert message in str(told.exception)


def test_shipped_presets_are_listed_with_what_they_are() -> None:
    told = RUN.invoke(app, ["models", "list", "--presets"]).stdout
    for line in ("vila2-2b  SigLIP", "vila2-40b  InternViT-6B", "tiny  Under a million"):
        assert line in told


def test_the_command_line_does_not_load_torch() -> None:
    script = "import sys, vila2.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
