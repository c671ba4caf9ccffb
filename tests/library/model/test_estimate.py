"""The formulas of a plan, held against a real model: bytes, FLOPs, and what autograd keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.support.models.tiny_preset import model
from vila2.model.build import PARTS, VLM
from vila2.model.memory import (
    GIB,
    ORDER,
    Hardware,
    Model,
    Plan,
    Precision,
    Stage,
    activations,
    flops_per_sample,
    memory,
)
from vila2.model.plan import shapes

TEXT = 28
FP32 = Precision(frozen=4, working=4, activation=4, stream=4, logit=8)


@pytest.fixture(scope="module")
def tiny() -> VLM:
    made = model()
    # Plain products, so that the counter sees attention as well.
    made.model.set_attn_implementation("eager")
    return made


@pytest.fixture(scope="module")
def sizes(tiny: VLM) -> Model:
    return shapes(tiny.model, tiny.preset)


def stage(*trainable: str) -> Stage:
    return Stage("some", frozenset(trainable), samples=1000, text_tokens=TEXT)  # type: ignore[arg-type]


STAGES = (stage("projector"), stage("projector", "language"), stage(*PARTS))


def forward(vlm: VLM, at: Stage, *, batch: int = 1) -> torch.Tensor:
    """The loss of a batch of one image and `TEXT` tokens each, with the stage's freeze mask."""
    for part in PARTS:
        for _, parameter in vlm.parameters_of(part):
            parameter.requires_grad_(part in at.trainable)
            parameter.grad = None
    image = vlm.model.config.image_token_id
    ids = torch.tensor([[image] * vlm.image_tokens + [7] * TEXT] * batch)
    loss: torch.Tensor = vlm.model(
        input_ids=ids, pixel_values=torch.randn(batch, 3, 32, 32), labels=ids, use_cache=False
    ).loss
    return loss


@pytest.mark.parametrize("at", STAGES, ids=["align", "pretrain", "sft"])
def test_flops_agree_with_torchs_counter(tiny: VLM, sizes: Model, at: Stage) -> None:
    with FlopCounterMode(display=False) as counter:
        forward(tiny, at).backward()
    assert counter.get_total_flops() == pytest.approx(flops_per_sample(sizes, at), rel=0.02)


def test_recomputation_costs_the_layers_forward_pass_again(tiny: VLM, sizes: Model) -> None:
    at = STAGES[2]
    plain = flops_per_sample(sizes, at)
    again = flops_per_sample(sizes, at, checkpointing=True)
    assert again == pytest.approx(plain * 4 / 3)  # Korthikanti et al. 2022, section 5


@pytest.mark.parametrize("at", STAGES, ids=["align", "pretrain", "sft"])
def test_bytes_of_weights_gradients_and_moments_are_those_of_a_real_model(
    tiny: VLM, sizes: Model, at: Stage
) -> None:
    forward(tiny, at).backward()
    learning = [p for p in tiny.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.0)
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.ndim]
    held = memory(sizes, at, "ddp", gpus=1, micro_batch=1, checkpointing=False, precision=FP32)
    assert held.weights == sum(_bytes(p) for p in tiny.model.parameters())
    assert held.gradients == sum(_bytes(p.grad) for p in learning)
    assert held.optimizer == sum(_bytes(t) for t in moments)


@pytest.mark.parametrize("at", STAGES, ids=["align", "pretrain", "sft"])
def test_activations_are_about_what_autograd_keeps(sizes: Model, at: Stage) -> None:
    """Within an eighth: small things that are not in the inventory weigh most in a tiny model."""
    vlm = model()  # with memory-saving attention, as the formula supposes
    own = {p.untyped_storage().data_ptr() for p in vlm.model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward(vlm, at, batch=8)
        measured = sum(t.untyped_storage().nbytes() for t in kept.values()) / 8
        del loss
    estimated = activations(sizes, at, checkpointing=False, precision=replace(FP32, logit=4))
    assert estimated == pytest.approx(measured, rel=0.12)


def test_sharding_divides_what_is_kept_and_adds_working_copies(sizes: Model) -> None:
    at = STAGES[2]

    def held(gpus: int) -> Any:
        return memory(sizes, at, "fsdp", gpus=gpus, micro_batch=1, checkpointing=True)

    working = 2 * (2 * sizes.parts["language"].largest_layer + sizes.outside_layers)
    assert held(8).optimizer == held(1).optimizer / 8
    assert held(8).weights - working == (held(1).weights - working) / 8
    assert held(8).activations == held(1).activations


def test_a_frozen_tower_keeps_nothing_and_is_not_gone_back_through(sizes: Model) -> None:
    larger = replace(
        sizes, parts={**sizes.parts, "vision": replace(sizes.parts["vision"], layers=200)}
    )
    for measure in _KEPT:
        assert measure(sizes, STAGES[1]) == measure(larger, STAGES[1])
        assert measure(sizes, STAGES[2]) < measure(larger, STAGES[2])


_KEPT: tuple[Callable[[Model, Stage], float], ...] = (
    lambda sizes, at: activations(sizes, at, checkpointing=False, precision=Precision()),
    lambda sizes, at: activations(sizes, at, checkpointing=True, precision=Precision()),
)


def test_hours_follow_from_flops_gpus_peak_and_utilisation(sizes: Model) -> None:
    row = Plan(sizes, Hardware(gpus=4, peak=1e12, utilisation=0.5), STAGES, batch=8).rows()[-1]
    seconds = row.flops_per_sample * 1000 / (4 * 1e12 * 0.5)
    assert row.wall_hours == pytest.approx(seconds / 3600)
    assert row.gpu_hours == pytest.approx(4 * seconds / 3600)


def test_the_micro_batch_is_the_largest_that_fits(sizes: Model) -> None:
    """Never more than a step has samples for; what does not fit at 1 says so."""
    at = STAGES[2]
    one = memory(sizes, at, "ddp", gpus=1, micro_batch=1, checkpointing=False)

    def planned(memory_bytes: float) -> Any:
        hardware = Hardware(gpus=1, memory=memory_bytes / 0.9 / GIB)
        return Plan(sizes, hardware, [at], batch=16).rows()[0]

    assert (planned(one.total).micro_batch, planned(one.total).fits) == (1, True)
    assert planned(one.total + 4 * one.activations).micro_batch == 4
    assert planned(one.total + 1e9).micro_batch == 16
    assert not planned(one.total - 1).fits


def test_every_stage_is_planned_in_four_ways(sizes: Model) -> None:
    rows = Plan(sizes, Hardware(gpus=2), STAGES, batch=8).rows()
    assert len({(r.parallelism, r.checkpointing) for r in rows}) == 4
    assert len(rows) == 4 * len(STAGES)
    assert set(ORDER) == set(PARTS)


def _bytes(tensor: torch.Tensor | None) -> int:
    assert tensor is not None
    return tensor.numel() * tensor.element_size()
