"""The guard stops what is lost and lets what only wavers go on."""

from __future__ import annotations

import math

import pytest

from vila2.training.divergence import Diverged, LossGuard


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan)])
def test_what_is_no_number_ends_the_stage(loss: float, norm: float) -> None:
    with pytest.raises(Diverged, match="lower `lr`"):
        LossGuard("sft").check(loss, norm)


def test_a_loss_that_stays_high_ends_the_stage() -> None:
    guard = LossGuard("sft")
    for _ in range(100):
        guard.check(2.0, 1.0)
    for _ in range(19):
        guard.check(9.0, 1.0)
    with pytest.raises(Diverged, match="above 3 times that for 20 steps"):
        guard.check(9.0, 1.0)


def test_a_spike_is_let_pass() -> None:
    guard = LossGuard("sft")
    for _ in range(10):
        for loss in [2.0] * 30 + [50.0] * 10:
            guard.check(loss, 1.0)


def test_a_loss_that_only_falls_slowly_is_let_be() -> None:
    guard = LossGuard("sft")
    for step in range(3000):
        guard.check(8.0 / (1 + step / 100), 1.0)
