"""Freeze masks, parameter groups and the learning-rate schedule of a stage."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from vila2.model.build import PARTS, VLM
from vila2.schemas.stages import Optimizer
from vila2.schemas.train_spec import Stage
from vila2.training.muon import Muon


@dataclass
class Optimizers:
    """The stage's optimizers, stepped together; each group remembers its top learning rate."""

    members: list[torch.optim.Optimizer]

    def step(self) -> None:
        """Apply one update."""
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for member in self.members:
            member.zero_grad(set_to_none=True)

    def scale_lr(self, factor: float) -> None:
        """Set every group's learning rate to its top value times `factor`."""
        for member in self.members:
            for group in member.param_groups:
                group["lr"] = group["top_lr"] * factor


def freeze(vlm: VLM, stage: Stage) -> None:
    """Let exactly the stage's parts learn; a frozen part also keeps its batch statistics."""
    for name in PARTS:
        trainable = name in stage.trainable
        for _, parameter in vlm.parameters_of(name):
            parameter.requires_grad_(trainable)
        vlm.part(name).train(trainable)


def build_optimizers(vlm: VLM, stage: Stage) -> Optimizers:
    """Group the trainable parameters by part, and by Muon if the recipe asks for it.

    Muon takes the 2-D weights of hidden layers; embeddings, norms, biases and convolutions stay
    with AdamW, as its authors advise.
    """
    settings = stage.optimizer
    adamw: list[dict[str, object]] = []
    muon: list[dict[str, object]] = []
    for part in stage.trainable:
        lr = stage.lr * stage.lr_scale.get(part, 1.0)
        hidden: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, parameter in vlm.parameters_of(part):
            if not parameter.requires_grad:
                continue  # adapted by others
            matrix = parameter.ndim == 2 and "embed" not in name and "lm_head" not in name
            (hidden if settings.kind == "muon" and matrix else rest).append(parameter)
        if hidden:
            top = lr * settings.muon_lr_scale
            muon.append({"params": hidden, "lr": top, "top_lr": top})
        if rest:
            adamw.append({"params": rest, "lr": lr, "top_lr": lr})
    members: list[torch.optim.Optimizer] = []
    if adamw:
        members.append(
            torch.optim.AdamW(adamw, betas=settings.betas, weight_decay=settings.weight_decay)
        )
    if muon:
        members.append(Muon(muon, weight_decay=settings.weight_decay))
    return Optimizers(members)


def lr_factor(step: int, *, steps: int, settings: Optimizer) -> float:
    """Linear warm-up, then half a cosine down to `final_lr`; a factor in (0, 1]."""
    warmup = max(1, round(settings.warmup * steps))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * done))
    return settings.final_lr + (1 - settings.final_lr) * cosine


def trainable_parameters(vlm: VLM) -> list[nn.Parameter]:
    """Parameters that the current freeze mask lets learn."""
    return [parameter for parameter in vlm.model.parameters() if parameter.requires_grad]
