"""Packed rows: nothing lost, nothing too long, and the loss of the padded batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.models.tiny_preset import model
from vila2.model.build import VLM
from vila2.training.batches.packing import packed_rows, within_budget
from vila2.training.objective import MicroBatch, Objective, packed_attention

lengths_of = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@settings(max_examples=200, deadline=None)
@given(lengths=lengths_of, capacity=st.integers(50, 200), multiple=st.integers(1, 4))
def test_every_sample_is_in_one_row_that_holds_it(lengths, capacity, multiple):
    rows = packed_rows(lengths, capacity=capacity, multiple=multiple)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= capacity for row in rows)


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 30), min_size=8, max_size=60), multiple=st.integers(1, 4))
def test_processes_get_the_same_number_of_rows(lengths, multiple):
    """Where there is a sample for each."""
    assert len(packed_rows(lengths, capacity=60, multiple=multiple)) % multiple == 0


def test_rows_take_about_the_same_time():
    lengths = [90, 10, 50, 50, 30, 70, 20, 80]
    totals = [sum(lengths[i] for i in row) for row in packed_rows(lengths, capacity=110)]
    assert max(totals) - min(totals) <= 10


def test_a_sample_that_fits_no_row_is_named():
    with pytest.raises(ValueError, match="a sample has 60 tokens, a row 50: raise `pack`"):
        packed_rows([10, 60], capacity=50)


@settings(max_examples=100, deadline=None)
@given(lengths=lengths_of, budget=st.integers(1, 400))
def test_a_step_takes_what_its_budget_allows_and_at_least_one(lengths, budget):
    count = within_budget(lengths, budget=budget)
    assert count >= 1
    assert count == 1 or sum(lengths[:count]) <= budget
    assert count == len(lengths) or sum(lengths[: count + 1]) > budget


@pytest.fixture(scope="module")
def vlm() -> VLM:
    return model(seed=2)


def samples(vlm: VLM, *, count: int = 5) -> list[tuple[list[int], list[int]]]:
    """Token ids with the image's, and labels without loss on the image and a question."""
    generator = torch.Generator().manual_seed(4)
    chat, made = vlm.chat(), []
    for n in range(count):
        text = torch.randint(10, 200, (3 + 7 * n,), generator=generator).tolist()
        ids = [*chat.prompt("What is this?"), *text]
        asked = len(ids) - len(text)
        made.append((ids, [-100] * asked + text))
    return made


def batches(vlm: VLM) -> tuple[MicroBatch, MicroBatch]:
    """The same samples padded and packed."""
    held = samples(vlm)
    lengths = tuple(len(ids) for ids, _ in held)
    size = (len(held), max(lengths))
    ids, labels = torch.full(size, vlm.chat().pad_id), torch.full(size, -100)
    attention = torch.zeros(size, dtype=torch.long)
    for n, (tokens, wanted) in enumerate(held):
        ids[n, : lengths[n]], labels[n, : lengths[n]] = torch.tensor(tokens), torch.tensor(wanted)
        attention[n, : lengths[n]] = 1
    side = vlm.preset.image_size
    images = torch.randint(0, 255, (len(held), side, side, 3), dtype=torch.uint8,
                             generator=torch.Generator().manual_seed(1))  # fmt: skip
    padded = MicroBatch(ids, labels, attention, lengths, images)
    joined = [torch.cat([torch.tensor(pair[k]) for pair in held])[None] for k in (0, 1)]
    return padded, MicroBatch(joined[0], joined[1], None, lengths, images)


def loss_and_gradients(vlm: VLM, batch: MicroBatch) -> tuple[float, dict[str, torch.Tensor]]:
    vlm.model.zero_grad()
    loss = Objective(vlm.model)(batch, vlm.normalise(batch.images))
    loss.backward()
    held = {n: p.grad.clone() for n, p in vlm.model.named_parameters() if p.grad is not None}
    return float(loss.detach()), held


def test_a_packed_row_has_the_loss_and_the_gradients_of_the_padded_batch(vlm: VLM) -> None:
    padded, packed = batches(vlm)
    expected, gradients = loss_and_gradients(vlm, padded)
    with packed_attention(vlm.part("language")):
        loss, found = loss_and_gradients(vlm, packed)
    assert loss / packed.loss_tokens == pytest.approx(expected / padded.loss_tokens, abs=1e-4)
    assert packed.tokens == padded.tokens
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, found[name], atol=1e-4, rtol=1e-3), name


def test_the_objective_is_transformers_own_loss(vlm: VLM) -> None:
    padded, _ = batches(vlm)
    theirs = vlm.model(
        input_ids=padded.ids, pixel_values=vlm.normalise(padded.images),
        attention_mask=padded.attention, labels=padded.labels,
    ).loss  # fmt: skip
    ours, _ = loss_and_gradients(vlm, padded)
    assert ours / padded.loss_tokens == pytest.approx(float(theirs.detach()), rel=1e-5)


def test_samples_of_a_row_do_not_see_each_other(vlm: VLM) -> None:
    """Another first sample leaves the loss of the others as it was."""
    _, packed = batches(vlm)
    first = packed.lengths[0]
    only_others = packed.labels.clone()
    only_others[:, :first] = -100
    changed = packed.ids.clone()
    changed[:, first - 3 : first] = 55
    with packed_attention(vlm.part("language")):
        losses = [
            loss_and_gradients(
                vlm, MicroBatch(ids, only_others, None, packed.lengths, packed.images)
            )[0]
            for ids in (packed.ids, changed)
        ]
    assert losses[0] == losses[1]


def test_attention_is_as_before_after_packing(vlm: VLM) -> None:
    before = vlm.part("language").config._attn_implementation
    with packed_attention(vlm.part("language")):
        assert vlm.part("language").config._attn_implementation != before
    assert vlm.part("language").config._attn_implementation == before
