"""Composing from checkpoints: their weights bit for bit, our tokens, an even grid, clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.models.checkpoints import (
    LLAMA,
    SIGLIP,
    save_internvit,
    save_language,
    save_siglip,
)
from vila2.engine.captioner import Captioner
from vila2.engine.requests import Request
from vila2.model.build import PARTS, VLM, compose
from vila2.model.preset import Preset, PresetError
from vila2.model.pretrained_parts import resize_positions
from vila2.schemas.sampling import Sampling


class Saved:
    """Two checkpoints and the weights that were put into them."""

    def __init__(self, folder: Path, *, tied: bool) -> None:
        self.vision = save_siglip(folder / "siglip")
        self.language = save_language(folder / "llama", tied=tied)
        self.folder = folder

    def preset(self, **changes: Any) -> Preset:
        values: dict[str, Any] = {
            "name": "joined",
            "image_size": 40,
            "vision": {
                "kind": "checkpoint",
                "path": str(self.folder / "siglip"),
                "model_type": "siglip_vision_model",
                "config": SIGLIP,
            },
            "language": {
                "kind": "checkpoint",
                "path": str(self.folder / "llama"),
                "model_type": "llama",
                "config": LLAMA,
            },
        }
        return Preset.model_validate({**values, **changes})


@pytest.fixture(scope="module", params=["tied", "untied"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    return Saved(tmp_path_factory.mktemp(request.param), tied=request.param == "tied")


@pytest.fixture(scope="module")
def joined(saved: Saved) -> VLM:
    return compose(saved.preset(), texts=(), seed=0)


def test_the_towers_weights_are_the_checkpoints(saved: Saved, joined: VLM) -> None:
    """All but the positions; the pooling head, which a VLM does not use, is left out."""
    tower = joined.part("vision").state_dict()
    for name, tensor in tower.items():
        if "position" not in name:
            assert torch.equal(tensor, saved.vision[name]), name
    assert not any(name.startswith("head.") for name in tower)


def test_an_odd_grid_is_resized_to_an_even_one(saved: Saved, joined: VLM) -> None:
    held = joined.part("vision").state_dict()["embeddings.position_embedding.weight"]
    given = saved.vision["embeddings.position_embedding.weight"]
    assert (given.shape[0], held.shape[0]) == (9, 16)
    assert joined.image_tokens == 4
    assert torch.equal(held, resize_positions(given, (16, 32)))
    # The middle of a 3x3 grid lies between the four middle ones of 4x4.
    middle = held.reshape(4, 4, -1)[1:3, 1:3].mean((0, 1))
    assert torch.nn.functional.cosine_similarity(middle, given, dim=1).argmax() == 4


def test_positions_keep_their_class_token_and_their_own_grid() -> None:
    positions = torch.randn(1, 17, 8)
    larger = resize_positions(positions, (1, 37, 8))
    assert torch.equal(larger[:, 0], positions[:, 0])
    assert torch.equal(resize_positions(positions, (1, 17, 8)), positions)


def test_the_languages_weights_are_the_checkpoints_and_its_embedding_grows(
    saved: Saved, joined: VLM
) -> None:
    held = joined.model.state_dict()
    for name, given in saved.language.items():
        inside = name if name == "lm_head.weight" else f"model.language_{name}"
        assert torch.equal(held[inside][: len(given)], given), name
    rows = held["lm_head.weight"].shape[0]
    assert rows == joined.model.config.text_config.vocab_size
    assert rows >= len(joined.tokenizer) > len(saved.language["lm_head.weight"])


def test_an_untied_output_layer_is_loaded_and_counted(saved: Saved, joined: VLM) -> None:
    tied = joined.model.config.tie_word_embeddings
    embedding = joined.model.get_input_embeddings().weight
    assert (joined.model.lm_head.weight is embedding) == tied
    parts = sum(p.numel() for part in PARTS for _, p in joined.parameters_of(part))
    assert parts == sum(p.numel() for p in joined.model.parameters())


def test_the_checkpoints_tokenizer_speaks_our_format(joined: VLM) -> None:
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}
    rendered = joined.tokenizer.apply_chat_template(
        [message], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|begin|><image><user>what?<assistant>"
    assert joined.chat().question_of(rendered) == "what?"
    expanded = rendered.replace("<image>", "<image>" * joined.image_tokens)
    ids = joined.tokenizer.encode(expanded, add_special_tokens=False)
    assert ids == joined.chat().prompt("what?")
    assert joined.chat().eos_id == joined.tokenizer.convert_tokens_to_ids("<|end|>")


def test_a_joined_model_answers_alike_after_saving_and_loading(joined: VLM, tmp_path: Path) -> None:
    joined.save(tmp_path / "m")
    pixels = np.full((40, 40, 3), 90, np.uint8)
    asked = [Request(pixels, "what?", 0, Sampling(max_new_tokens=6))]
    loaded = VLM.load(tmp_path / "m")
    (before,), (after,) = Captioner(joined).generate(asked), Captioner(loaded).generate(asked)
    assert after.text == before.text
    assert after.logprob == pytest.approx(before.logprob, abs=1e-6)


def test_two_composings_give_the_same_weights(saved: Saved, joined: VLM) -> None:
    again = compose(saved.preset(), texts=(), seed=0).model.state_dict()
    assert all(
        torch.equal(tensor, again[name]) for name, tensor in joined.model.state_dict().items()
    )


def test_a_tower_inside_an_internvl_directory_is_picked_out(saved: Saved, tmp_path: Path) -> None:
    given = save_internvit(tmp_path / "vit")
    language = saved.preset().language
    alone = Preset.model_validate(
        {
            "name": "whole",
            "image_size": 28,
            "language": language,
            "vision": _tower(tmp_path / "vit"),
        }
    )
    made = compose(alone, texts=(), seed=0)
    made.model.save_pretrained(tmp_path / "internvl")  # as transformers saves any InternVL
    again = compose(
        alone.model_copy(
            update={"vision": alone.vision.model_copy(update={"path": str(tmp_path / "internvl")})}
        ),
        texts=(),
        seed=1,
    )
    for name, tensor in again.part("vision").state_dict().items():
        assert torch.equal(tensor, given[name]), name


def _tower(path: Path) -> dict[str, Any]:
    config = {"hidden_size": 32, "image_size": [28, 28]}
    return {
        "kind": "checkpoint",
        "path": str(path),
        "model_type": "internvl_vision",
        "config": config,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"config": {**SIGLIP, "hidden_size": 1152}},
            r"vision.config.hidden_size is 1152.*siglip/config.json has 32; name",
        ),
        (
            {"model_type": "clip_vision_model"},
            r"vision.model_type is 'clip_vision_model'.*'siglip_vision_model'",
        ),
        ({"path": "nobody/nothing"}, r"vision.path 'nobody/nothing'.*VILA2_ALLOW_DOWNLOAD=1"),
    ],
)  # fmt: skip
def test_another_checkpoint_than_the_presets_is_an_error_that_names_it(
    saved: Saved, change: dict[str, Any], message: str
) -> None:
    vision = saved.preset().model_dump()["vision"]
    with pytest.raises(PresetError, match=message):
        compose(saved.preset(vision={**vision, **change}), texts=(), seed=0)


def test_a_checkpoint_with_weights_missing_is_an_error(saved: Saved, tmp_path: Path) -> None:
    """Never a part that is silently left random."""
    from safetensors.torch import load_file, save_file

    (tmp_path / "half").mkdir()
    for file in (saved.folder / "llama").iterdir():
        (tmp_path / "half" / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "half" / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "half" / "model.safetensors", metadata={"format": "pt"})
    language = saved.preset().model_dump()["language"] | {"path": str(tmp_path / "half")}
    with pytest.raises(PresetError, match=r"half .*lacks model\.norm\.weight"):
        compose(saved.preset(language=language), texts=(), seed=0)


def test_a_pickled_checkpoint_is_refused(saved: Saved, tmp_path: Path) -> None:
    config = (saved.folder / "siglip" / "config.json").read_bytes()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_bytes(config)
    torch.save(saved.vision, tmp_path / "old" / "pytorch_model.bin")
    vision = saved.preset().model_dump()["vision"] | {"path": str(tmp_path / "old")}
    with pytest.raises(PresetError, match="safetensors"):
        compose(saved.preset(vision=vision), texts=(), seed=0)


def test_a_grid_that_does_not_join_names_the_next_size_that_does(saved: Saved) -> None:
    with pytest.raises(PresetError, match=r"3x3, which cannot be joined 2x2; set image_size to 40"):
        compose(saved.preset(image_size=30), texts=(), seed=0)
