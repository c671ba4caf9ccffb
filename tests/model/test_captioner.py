"""The captioner: the same request gives the same caption, whatever is around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import model
from vila2.model.captioner import Captioner, Request, Sampling

CAPTIONER = Captioner(model(), batch_size=8)


def requests(count: int, *, temperature: float) -> list[Request]:
    rng = np.random.default_rng(5)
    sampling = Sampling(temperature=temperature, top_p=0.9, max_new_tokens=9)
    return [
        Request(
            rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),
            "what?" if i % 2 else "describe the image please",
            seed=i,
            sampling=sampling,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_caption_does_not_depend_on_its_batch(temperature: float) -> None:
    asked = requests(7, temperature=temperature)
    together = CAPTIONER.generate(asked)
    alone = [CAPTIONER.generate([request])[0] for request in asked]
    assert [g.text for g in together] == [g.text for g in alone]


def test_greedy_decoding_equals_transformers_generate() -> None:
    """Our loop and transformers' own agree token by token."""
    request = requests(1, temperature=0.0)[0]
    vlm = CAPTIONER.vlm
    prompt = torch.tensor([CAPTIONER.chat.prompt(request.question)])
    pixels = vlm.normalise(torch.from_numpy(request.pixels[None]))
    made = vlm.model.generate(
        input_ids=prompt,
        pixel_values=pixels,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=9,
        do_sample=False,
    )
    theirs = CAPTIONER.chat.decode(made[0, prompt.shape[1] :].tolist())
    assert CAPTIONER.generate([request])[0].text == theirs


def test_another_seed_gives_another_caption() -> None:
    first = requests(1, temperature=1.5)[0]
    other = Request(first.pixels, first.question, 99, first.sampling)
    assert CAPTIONER.generate([first])[0].text != CAPTIONER.generate([other])[0].text


def test_a_caption_that_never_ends_says_so() -> None:
    answer = CAPTIONER.generate(requests(1, temperature=0.0))[0]
    assert answer.finish_reason == ("length" if answer.tokens == 9 else "stop")
    assert answer.tokens <= 9


def test_progress_reaches_the_number_of_requests() -> None:
    seen: list[int] = []
    CAPTIONER.generate(requests(11, temperature=0.0), progress=seen.append)
    assert seen[-1] == 11
