"""The captioner: the same request gives the same caption, whatever is around it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.models.tiny_preset import model
from vila2.engine.captioner import Captioner
from vila2.engine.continuous_batch import draw
from vila2.engine.requests import Request
from vila2.schemas.sampling import Sampling

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


@given(
    seed=st.integers(0, 2**32 - 1),
    top_p=st.floats(0.01, 1.0),
    temperature=st.floats(0.05, 3.0),
    uniform=st.floats(0.0, 1.0, exclude_max=True),
)
def test_a_draw_is_what_numpy_would_choose_in_the_nucleus(
    seed: int, top_p: float, temperature: float, uniform: float
) -> None:
    """Row by row, by sorting and searching: none leaves the smallest set of that mass."""
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 2, (5, 40))).float()
    logits = logits / temperature
    column = torch.ones(5, 1, dtype=torch.float64)
    chosen = draw(logits, column * top_p, column * uniform)
    for row, token in zip(logits, chosen.tolist(), strict=True):
        likely = row.softmax(-1).double().numpy()
        order = np.argsort(-likely, kind="stable")
        mass = np.cumsum(likely[order])
        last = min(int(np.searchsorted(mass, top_p)), 39)
        place = int(np.searchsorted(mass[: last + 1], uniform * mass[last], side="right"))
        assert token == order[min(place, last)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_half_precision_captions_too(temperature: float) -> None:
    """What a GPU runs by default: caches, images and sums of one type."""
    half = Captioner(model(), batch_size=4, dtype=torch.bfloat16)
    asked = requests(6, temperature=temperature)
    answers = half.generate(asked)
    assert half.vlm.model.dtype == torch.bfloat16
    assert all(answer.tokens > 0 and np.isfinite(answer.logprob) for answer in answers)
