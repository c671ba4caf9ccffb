"""What a preset saves, stock transformers and stock vLLM load and answer alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.models.small_presets import small_preset
from tests.support.vllm.environment import run_in_vllm
from tests.support.vllm.models import QUESTION, blocks, spread
from vila2.engine.captioner import Captioner
from vila2.engine.consistency import Scorer
from vila2.engine.requests import Request, Scoring
from vila2.model.build import VLM
from vila2.model.preset import FromWheel, load_preset, shipped
from vila2.schemas.sampling import Sampling

pytestmark = [pytest.mark.server, pytest.mark.full]
SERVED = [name for name in shipped() if not isinstance(load_preset(name).vision, FromWheel)]
IMAGES, NEW_TOKENS = 50, 24


@pytest.mark.parametrize("name", SERVED)
def test_a_presets_model_answers_alike_in_all_three(name: str, tmp_path: Path) -> None:
    preset = small_preset(load_preset(name), tmp_path / "checkpoints")
    model = tmp_path / "model"
    spread(preset).save(model)
    images = blocks(IMAGES, preset.image_size)
    captioner = Captioner(VLM.load(model), batch_size=IMAGES)
    chat, sampling = captioner.chat, Sampling(max_new_tokens=NEW_TOKENS)
    ours = captioner.generate([Request(image, QUESTION, 0, sampling) for image in images])
    pairs = list(zip(images, ours, strict=True))
    assert len({answer.text for answer in ours}) > IMAGES // 2, "the images make no difference"
    scores = Scorer(captioner).score([Scoring(i, QUESTION, answer.text) for i, answer in pairs])
    in_vllm = run_in_vllm(
        "offline",
        {
            "model": str(model),
            "images": saved(images, tmp_path),
            "prompt": once(chat.prompt(QUESTION), captioner.vlm.image_token_id),
            "answers": [[*chat.text_ids(answer.text), chat.eos_id] for answer in ours],
            "new_tokens": NEW_TOKENS,
            "max_model_len": 256,
        },
        tmp_path,
    )
    assert [row["prompt"] for row in in_vllm] == [chat.prompt(QUESTION)] * IMAGES
    assert by_transformers(model, images) == [row["answer"] for row in in_vllm]
    assert [chat.decode(row["answer"]) for row in in_vllm] == [answer.text for answer in ours]
    nll = [score.given_image for score in scores]
    assert np.allclose(nll, [row["nll"] for row in in_vllm], rtol=0, atol=0.02)


def test_every_preset_is_served_or_says_that_only_this_package_opens_it() -> None:
    """EfficientNet's tower comes with this package, so its card names `VLM.load`."""
    assert set(shipped()) - set(SERVED) == {"photos"}


def once(prompt: list[int], image: int) -> list[int]:
    """The prompt with one image token, which vLLM replaces by as many as an image takes."""
    start = prompt.index(image)
    return [*prompt[:start], image, *(token for token in prompt[start:] if token != image)]


def saved(images: list[np.ndarray], folder: Path) -> list[str]:
    files = [folder / f"{number}.png" for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file)
    return [str(file) for file in files]


def by_transformers(directory: Path, images: list[np.ndarray]) -> list[list[int]]:
    """Greedy answers of what the Auto classes open, one image at a time."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_pretrained(directory).eval()
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    made = []
    for image in map(Image.fromarray, images):
        asked = {"images": image, "text": prompt, "add_special_tokens": False}
        inputs = processor(**asked, return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        made.append(ids[0, inputs["input_ids"].shape[1] :].tolist())
    return made
