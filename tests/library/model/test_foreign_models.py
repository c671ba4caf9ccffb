"""Models that exist already: their parts, their prompts, their answers, and who is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from tests.support.models.foreign_models import KINDS, llava
from vila2.data.assembly import TrainingText
from vila2.data.sample import Turn
from vila2.engine.captioner import Captioner
from vila2.engine.consistency import Scorer
from vila2.engine.reference import image_embeddings, mean_embedding
from vila2.engine.requests import Request, Scoring
from vila2.model.build import PARTS, VLM, compose, fresh_projector
from vila2.model.external_models import ForeignModelError
from vila2.model.features import tower_digest
from vila2.model.preset import Preset
from vila2.model.weight_files import CheckpointError
from vila2.schemas.sampling import Sampling

PIXELS = np.random.default_rng(3).integers(0, 255, (4, 28, 28, 3), dtype=np.uint8)
QUESTIONS = (
    "what?",
    "describe the circle on a background",
    "a red <image> or <|im_end|>?",
    "what?",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("foreign")
    return {kind: make(root / kind) for kind, make in KINDS.items()}


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture(scope="module")
def vlm(folder: Path) -> VLM:
    return VLM.load(folder)


def test_the_three_parts_are_found_and_hold_every_parameter_once(vlm: VLM) -> None:
    held = [id(p) for part in PARTS for _, p in vlm.parameters_of(part)]
    assert sorted(held) == sorted(id(p) for p in vlm.model.parameters())
    assert all(next(vlm.part(part).parameters(), None) is not None for part in PARTS)


def test_greedy_answers_equal_transformers_generate(vlm: VLM) -> None:
    """Together in one batch here, alone there."""
    sampling = Sampling(max_new_tokens=8)
    asked = [
        Request(pixels, question, 0, sampling)
        for pixels, question in zip(PIXELS, QUESTIONS, strict=True)
    ]
    ours = [answer.text for answer in Captioner(vlm).generate(asked)]
    theirs = []
    for request in asked:
        prompt = torch.tensor([vlm.chat().prompt(request.question)])
        made = vlm.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            pixel_values=vlm.normalise(torch.from_numpy(request.pixels[None])),
            eos_token_id=sorted(vlm.chat().eos_ids),
            pad_token_id=vlm.chat().pad_id,
            max_new_tokens=8,
            do_sample=False,
        )
        theirs.append(vlm.chat().decode(made[0, prompt.shape[1] :].tolist()))
    assert ours == theirs
    assert len(set(ours)) > 1  # the images and questions are seen


def test_a_prompt_holds_as_many_image_tokens_as_the_tower_gives(vlm: VLM) -> None:
    ids = vlm.chat().prompt("what <image> is this?")
    assert ids.count(vlm.model.config.image_token_id) == vlm.image_tokens


def test_a_training_step_reaches_every_part(vlm: VLM) -> None:
    chat = vlm.chat()
    text = TrainingText("", (Turn("what?", "a red circle"),))
    encoded = chat.encode(text, max_length=200)
    labels = torch.tensor([encoded.ids])
    labels[~torch.tensor([encoded.loss])] = -100
    vlm.model.zero_grad()
    vlm.model(
        input_ids=torch.tensor([encoded.ids]),
        attention_mask=torch.ones_like(labels),
        pixel_values=vlm.normalise(torch.from_numpy(PIXELS[:1])),
        labels=labels,
    ).loss.backward()
    for part in PARTS:
        assert any(p.grad is not None and p.grad.any() for _, p in vlm.parameters_of(part)), part
    vlm.model.zero_grad()


def test_loss_falls_on_answers_and_their_end_only(vlm: VLM) -> None:
    turns = (Turn("what?", "a circle"), Turn("describe it", "blue"))
    encoded = vlm.chat().encode(TrainingText("", turns), max_length=200)
    learnt = [i for i, counted in zip(encoded.ids, encoded.loss, strict=True) if counted]
    end = vlm.tokenizer.convert_ids_to_tokens(vlm.chat().eos_id)
    assert vlm.tokenizer.decode(learnt).replace(" ", "") == f"acircle{end}blue{end}"


def test_a_sample_begins_with_the_prompt_of_its_first_question(vlm: VLM) -> None:
    """What is trained is what is asked later."""
    encoded = vlm.chat().encode(TrainingText("", (Turn("what?", "a circle"),)), max_length=200)
    prompt = vlm.chat().prompt("what?")
    assert encoded.ids[: len(prompt)] == prompt
    assert encoded.loss.index(True) == len(prompt)


def test_plain_text_follows_the_image_and_turns_follow_it(vlm: VLM) -> None:
    text = TrainingText("a red circle", (Turn("what?", "blue"),))
    encoded = vlm.chat().encode(text, max_length=200)
    learnt = [i for i, counted in zip(encoded.ids, encoded.loss, strict=True) if counted]
    end = vlm.tokenizer.convert_ids_to_tokens(vlm.chat().eos_id)
    assert vlm.tokenizer.decode(learnt).replace(" ", "") == f"aredcircle{end}blue{end}"
    assert encoded.ids.count(vlm.model.config.image_token_id) == vlm.image_tokens
    if vlm.tokenizer.bos_token_id is not None:
        assert encoded.ids.count(vlm.tokenizer.bos_token_id) <= 1


def test_what_is_too_long_is_cut_and_reported(vlm: VLM) -> None:
    turns = (Turn("one?", "circle"), Turn("two?", "blue " * 200))
    encoded = vlm.chat().encode(TrainingText("", turns), max_length=120)
    assert encoded.truncated
    assert len(encoded.ids) <= 120
    assert any(encoded.loss)


def test_a_rendered_prompt_gives_its_question_back(vlm: VLM) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "is it <image>?"}]
    rendered = vlm.tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    assert vlm.chat().question_of(rendered) == "is it <image>?"


def test_a_trained_model_is_saved_as_plainly_as_it_came(
    vlm: VLM, folder: Path, tmp_path: Path
) -> None:
    vlm.save(tmp_path / "m")
    assert {p.name for p in folder.iterdir()} <= {p.name for p in (tmp_path / "m").iterdir()}
    assert str(folder) not in (tmp_path / "m" / "vila2_preset.json").read_text()
    again = VLM.load(tmp_path / "m")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "m")
    for name, tensor in vlm.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name
        assert torch.equal(plain.state_dict()[name], tensor), name
    assert again.chat().prompt("what?") == vlm.chat().prompt("what?")
    assert again.preset.image_size == 28


def test_a_fresh_projector_leaves_the_other_parts_alone(folder: Path) -> None:
    made, before = VLM.load(folder), VLM.load(folder)
    fresh_projector(made, seed=9)
    for part in PARTS:
        same = [
            torch.equal(now, then)
            for (_, now), (_, then) in zip(
                made.parameters_of(part), before.parameters_of(part), strict=True
            )
        ]
        assert all(same) == (part != "projector"), part


@pytest.mark.parametrize("kind", ["llava-siglip", "llava-clip"])
def test_prompts_and_images_are_those_of_the_models_own_processor(
    folders: dict[str, Path], kind: str
) -> None:
    from transformers import AutoProcessor

    vlm, processor = VLM.load(folders[kind]), AutoProcessor.from_pretrained(folders[kind])
    content = [{"type": "image"}, {"type": "text", "text": "what?"}]
    message = {"role": "user", "content": content}
    rendered = processor.apply_chat_template([message], add_generation_prompt=True)
    made = processor(text=[rendered], images=[PIXELS[0]], return_tensors="pt")
    assert vlm.chat().prompt("what?") == made["input_ids"][0].tolist()
    ours = vlm.normalise(torch.from_numpy(PIXELS[:1]))
    assert torch.allclose(ours, made["pixel_values"], atol=1e-5)


def test_a_preset_may_name_a_model_that_exists(folders: dict[str, Path]) -> None:
    """So it can be the base of a recipe."""
    preset = Preset.model_validate(
        {"name": "mine", "model": {"path": str(folders["smolvlm"])}, "max_length": 300}
    )
    made = compose(preset, texts=(), seed=0)
    assert (made.preset.name, made.preset.image_size, made.preset.max_length) == ("mine", 28, 300)


def test_features_of_a_foreign_tower_are_not_cached(vlm: VLM) -> None:
    with pytest.raises(ValueError, match=r"set training\.cache_features to false"):
        tower_digest(vlm)


def _only_config(folder: Path, model_type: str, **values: Any) -> Path:
    AutoConfig.for_model(model_type, **values).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("qwen2_vl", "any size and number of tokens"),
        ("qwen3_vl", "any size and number of tokens"),
        ("glm4v", "any size and number of tokens"),
        ("paligemma", "see each other both ways"),
        ("gemma3", "see each other both ways"),
        ("mllama", "tiles"),
        ("florence2", "encoder-decoder"),
        ("llama", "no image-text-to-text model"),
    ],
)
def test_models_that_do_not_fit_are_refused_with_the_reason(
    tmp_path: Path, model_type: str, reason: str
) -> None:
    with pytest.raises(ForeignModelError, match=f"{model_type}.*{reason}"):
        VLM.load(_only_config(tmp_path / "m", model_type))


def test_a_model_that_cuts_images_into_tiles_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(folders["llava-siglip"], tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**config, "model_type": "llava_next"}))
    from transformers import LlavaNextImageProcessor

    for name in ("processor_config.json", "preprocessor_config.json"):
        (tmp_path / "m" / name).unlink(missing_ok=True)
    LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}
    ).save_pretrained(tmp_path / "m")
    with pytest.raises(ForeignModelError, match=r"llava_next.*also need image_sizes"):
        VLM.load(tmp_path / "m")


def test_a_sliding_window_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["llava-siglip"], tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["text_config"] |= {"model_type": "mistral", "sliding_window": 8}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ForeignModelError, match="do not all attend to the whole prompt"):
        VLM.load(tmp_path / "m")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", r"config\.json is missing"),
        ("processor_config.json", "how images are prepared is unknown"),
        ("chat_template.jinja", "no chat template"),
        ("model.safetensors", "safetensors"),
    ],
)
def test_a_missing_file_is_named(
    folders: dict[str, Path], tmp_path: Path, file: str, message: str
) -> None:
    shutil.copytree(folders["llava-clip"], tmp_path / "m")
    (tmp_path / "m" / file).unlink()
    with pytest.raises((ForeignModelError, CheckpointError), match=message):
        VLM.load(tmp_path / "m")


def test_images_prepared_in_another_way_are_refused(tmp_path: Path) -> None:
    made = llava(tmp_path / "m", "siglip_vision_model")
    file = made / "processor_config.json"
    settings = json.loads(file.read_text())
    settings["image_processor"]["rescale_factor"] = 1.0
    file.write_text(json.dumps(settings))
    with pytest.raises(ForeignModelError, match="only rescaling by 1/255"):
        VLM.load(made)


def test_the_mean_embedding_has_a_row_for_every_image_token(vlm: VLM) -> None:
    """Families return a tensor or a list of them; the reference is the mean over images."""
    pixels = vlm.normalise(torch.from_numpy(PIXELS))
    each = image_embeddings(vlm, pixels)
    mean = mean_embedding(vlm, iter(PIXELS))
    assert each.shape[:2] == (len(PIXELS), vlm.image_tokens)
    assert torch.allclose(mean, each.mean(0), atol=1e-5)


def test_a_caption_is_scored_as_the_models_own_loss_scores_it(vlm: VLM) -> None:
    """The consistency score's NLL is what the model's forward gives with the image."""
    captioner = Captioner(vlm)
    (score,) = Scorer(captioner).score([Scoring(PIXELS[0], "what?", "a red circle")])
    ids = vlm.chat().prompt("what?")
    answer = [*vlm.chat().text_ids("a red circle"), vlm.chat().eos_id]
    labels = torch.tensor([[-100] * len(ids) + answer])
    loss = vlm.model(
        input_ids=torch.tensor([ids + answer]),
        attention_mask=torch.ones_like(labels),
        pixel_values=vlm.normalise(torch.from_numpy(PIXELS[:1])),
        labels=labels,
    ).loss
    assert score.given_image == pytest.approx(loss.item(), abs=1e-4)
    assert score.gain != 0
