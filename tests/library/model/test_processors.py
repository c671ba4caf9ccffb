"""The processor of any family: opened whole, on the left side, or refused with the missing file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText
from transformers.utils import is_torchvision_available

from tests.support.tiny_families import FAMILIES, build
from vila2.model.loading import load_model
from vila2.model.processor_parts import Missing
from vila2.model.processors import Processor, ProcessorError, open_processor

QUESTION = [
    {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": "Describe the image in detail."}],
    }
]
WITH_VIDEOS = {"LLaVA-OneVision", "InternVL3", "Qwen2-VL", "Qwen2.5-VL", "Qwen3-VL", "SmolVLM"}


def picture(width: int, height: int, colour: tuple[int, int, int]) -> Image.Image:
    """A square of the colour on a ground that is dark on the left and bright on the right."""
    image = Image.linear_gradient("L").rotate(90).resize((width, height)).convert("RGB")
    image.paste(colour, (width // 4, height // 4, width // 2, height // 2))
    return image


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(family, tmp_path_factory.mktemp("family") / "model")


@pytest.fixture(scope="module")
def processor(folder: Path) -> Processor:
    return open_processor(folder)


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load_model(AutoModelForImageTextToText, folder).eval()


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    return build("LLaVA-1.5", tmp_path / "llava")


def expected(model: Any, processor: Processor, image: Image.Image) -> torch.Tensor:
    """Log-probability of each token of one fixed answer to the question about an image."""
    batch = processor(text=[processor.apply_chat_template(QUESTION)], images=[image])
    answer = processor.tokenizer(
        "a large red circle", add_special_tokens=False, return_tensors="pt"
    ).input_ids
    columns = batch["input_ids"].shape
    added = {"input_ids": answer, "attention_mask": torch.ones_like(answer)}
    for name, values in batch.items():
        if values.shape == columns:  # the answer's tokens are text: type 0
            more = added.get(name, torch.zeros_like(answer))
            batch[name] = torch.cat([values, more], dim=1)
    length = answer.shape[1]
    with torch.inference_mode():
        scores = model(**batch).logits[0, -length - 1 : -1].log_softmax(-1)
    return scores.gather(1, answer[0][:, None])[:, 0]


def test_a_family_opens_and_says_what_it_computes_pixels_with(
    family: str, processor: Processor
) -> None:
    videos = family in WITH_VIDEOS and not is_torchvision_available()
    assert processor.image_backend == ("torchvision" if is_torchvision_available() else "pil")
    assert ("video_processor" in processor.absent) == videos


def test_images_of_different_size_are_tokenised_together_and_padded_on_the_left(
    processor: Processor, model: Any
) -> None:
    prompt = processor.apply_chat_template(QUESTION)
    images = [picture(90, 60, (220, 30, 20)), picture(50, 120, (20, 30, 220))]
    batch = processor(text=[prompt, prompt + " a large red circle"], images=images)
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"].sum(1).min() < batch["input_ids"].shape[1]
    assert (batch["attention_mask"][:, -1] == 1).all()
    image_tokens = (batch["input_ids"] == model.config.image_token_id).sum(1)
    assert (image_tokens > 0).all()


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(
    processor: Processor, model: Any
) -> None:
    prompt = processor.apply_chat_template(QUESTION)
    texts = [prompt, prompt + " a large red circle"]
    images = [picture(90, 60, (220, 30, 20)), picture(50, 120, (20, 30, 220))]
    greedy = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    with torch.inference_mode():
        together = model.generate(**processor(text=texts, images=images), **greedy)[:, -5:]
        alone = [
            model.generate(**processor(text=[text], images=[image]), **greedy)[:, -5:]
            for text, image in zip(texts, images, strict=True)
        ]
    assert together.tolist() == torch.cat(alone).tolist()


@pytest.mark.parametrize("height", [60, 3])
def test_an_array_gives_the_pixels_of_its_image(processor: Processor, height: int) -> None:
    prompt, image = processor.apply_chat_template(QUESTION), picture(90, height, (220, 30, 20))
    first, second = (processor(text=[prompt], images=[x]) for x in (image, np.asarray(image)))
    assert torch.equal(first["pixel_values"], second["pixel_values"])


def test_a_prompt_begins_once(processor: Processor) -> None:
    """Some templates write the first token, some tokenizers do, some families have none."""
    batch = processor(
        text=[processor.apply_chat_template(QUESTION)], images=[picture(60, 60, (0, 200, 0))]
    )
    bos = processor.tokenizer.bos_token_id
    assert batch["input_ids"][0].tolist().count(bos) == (bos is not None)


def test_another_image_changes_the_probabilities_of_an_answer(
    model: Any, processor: Processor
) -> None:
    red, blue = picture(90, 60, (220, 30, 20)), picture(90, 60, (20, 30, 220))
    difference = expected(model, processor, red) - expected(model, processor, blue)
    assert difference.abs().max() > 1e-4


def test_a_family_is_small_and_always_the_same(
    family: str, model: Any, tmp_path: Path, folder: Path
) -> None:
    assert sum(weight.numel() for weight in model.parameters()) < 2_000_000
    again = build(family, tmp_path / "again")
    name = "model.safetensors"
    assert (again / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["preprocessor_config.json"],
            r"llava holds no image processor .* copy preprocessor_config\.json from the model's",
        ),
        (
            ["tokenizer.json", "tokenizer_config.json"],
            r"llava holds no tokenizer .* copy tokenizer\.json and tokenizer_config\.json from",
        ),
        (
            ["chat_template.jinja"],
            r"llava holds no chat template .* put the chat template into chat_template\.jinja",
        ),
    ],
)
def test_a_missing_piece_is_named_with_the_file_to_bring(
    llava: Path, files: list[str], message: str
) -> None:
    for name in files:
        (llava / name).unlink()
    with pytest.raises(ProcessorError, match=message):
        open_processor(llava)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_a_damaged_file_is_named(llava: Path, name: str) -> None:
    (llava / name).write_text("version https://git-lfs")
    with pytest.raises(ProcessorError, match=rf"{name} is damaged .*copy the file again"):
        open_processor(llava)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProcessorError, match="is no directory"):
        open_processor(tmp_path / "nothing")


def test_a_processor_class_that_transformers_lacks_is_refused(llava: Path) -> None:
    (llava / "processor_config.json").write_text('{"processor_class": "OtherProcessor"}')
    with pytest.raises(ProcessorError, match=r"knows no processor for it.*\"processor_class\""):
        open_processor(llava)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"auto_map": {"AutoModel": "modeling.Other"}}, "auto_map in config.json.* is not run"),
        ({}, "does not know 'other_vl' .*install a version that does"),
    ],
)
def test_a_model_that_transformers_does_not_know_is_refused(
    llava: Path, extra: dict[str, Any], message: str
) -> None:
    (llava / "config.json").write_text(json.dumps({"model_type": "other_vl", **extra}))
    with pytest.raises(ProcessorError, match=message):
        open_processor(llava)


def test_an_image_processor_of_torchvision_alone_is_refused_without_it(llava: Path) -> None:
    path = llava / "preprocessor_config.json"
    described = json.loads(path.read_text()) | {"image_processor_type": "Llama4ImageProcessor"}
    path.write_text(json.dumps(described))
    if is_torchvision_available():
        assert open_processor(llava).image_backend == "torchvision"
    else:
        with pytest.raises(ProcessorError, match=r"torchvision.*\(install the package"):
            open_processor(llava)


def test_a_template_may_be_in_the_tokenizer_or_in_the_legacy_file(llava: Path) -> None:
    prompt = open_processor(llava).apply_chat_template(QUESTION)
    template = (llava / "chat_template.jinja").read_text()
    (llava / "chat_template.jinja").unlink()
    legacy = llava / "chat_template.json"
    legacy.write_text(json.dumps({"chat_template": template}))
    assert open_processor(llava).apply_chat_template(QUESTION) == prompt
    legacy.unlink()
    settings = llava / "tokenizer_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"chat_template": template}))
    assert open_processor(llava).apply_chat_template(QUESTION) == prompt


def test_all_parts_may_be_in_the_one_file_that_a_processor_writes(
    llava: Path, tmp_path: Path
) -> None:
    ours = open_processor(llava)
    nested = tmp_path / "nested"
    ours.inner.save_pretrained(nested)
    shutil.copy(llava / "config.json", nested)
    assert not (nested / "preprocessor_config.json").exists()
    again = open_processor(nested)
    prompt, image = ours.apply_chat_template(QUESTION), picture(90, 60, (220, 30, 20))
    first, second = (one(text=[prompt], images=[image]) for one in (ours, again))
    assert torch.equal(first["pixel_values"], second["pixel_values"])
    assert torch.equal(first["input_ids"], second["input_ids"])


def test_padding_falls_back_to_the_end_and_must_be_possible(llava: Path) -> None:
    path = llava / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    path.write_text(json.dumps(settings))
    assert open_processor(llava).tokenizer.pad_token == "</s>"
    del settings["eos_token"]
    path.write_text(json.dumps(settings))
    with pytest.raises(ProcessorError, match=r'neither pad_token nor eos_token.*"pad_token"'):
        open_processor(llava)


def test_a_stand_in_raises_if_it_is_used() -> None:
    with pytest.raises(ProcessorError, match="opened without video_processor"):
        Missing("video_processor")([])
