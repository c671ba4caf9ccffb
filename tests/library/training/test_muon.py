"""Muon in fp32 is PyTorch's Muon but for rounding."""

from __future__ import annotations

import pytest
import torch

from vila2.training.muon import Muon


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_it_takes_the_steps_of_pytorchs(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"lr": 0.02, "weight_decay": 0.1}
    one, other = Muon([ours], **settings), torch.optim.Muon([theirs], **settings)
    for _ in range(5):
        gradient = torch.randn(shape, generator=generator)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    moved = float((theirs - start).detach().norm())
    assert float((ours - theirs).detach().norm()) < 0.02 * moved
    assert one.state_dict()["state"][0].keys() == other.state_dict()["state"][0].keys()
