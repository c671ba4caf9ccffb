"""Muon on CPUs: PyTorch's own, orthogonalised in fp32.

PyTorch's takes the products of the Newton-Schulz iteration in bf16. A CPU without instructions for
that does them sixty times slower than in fp32, and a training of small models then does little
else; so on a CPU they are taken in fp32, on every CPU, which also gives equal weights everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import torch


class Muon(torch.optim.Muon):
    """As `torch.optim.Muon` (Jordan et al. 2024), with its state and defaults."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Apply one update to all parameters."""
        groups: list[dict[str, Any]] = self.param_groups
        if any(p.device.type != "cpu" for group in groups for p in group["params"]):
            return super().step(closure)
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        gradient = parameter.grad
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - momentum)
        update = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
        rows, columns = parameter.shape
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(
            orthogonal(update, group), alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns))
        )


def orthogonal(update: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
    """Approximately the nearest semi-orthogonal matrix: singular values between 0.5 and 1.5."""
    a, b, c = group["ns_coefficients"]
    wide = update.T if update.shape[0] > update.shape[1] else update
    wide = wide / wide.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.T if update.shape[0] > update.shape[1] else wide
