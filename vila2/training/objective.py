"""The training objective: the summed loss of a micro-batch, padded or packed.

Logits are made only where a token counts in the loss, and a few thousand at a time: with a
vocabulary of 128,000, the logits of one packed row would otherwise outweigh all activations.

In a packed row attention must not cross samples. On a GPU that is PyTorch's variable-length flash
attention; on a CPU each sample is attended by itself, which costs no more than it does alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

PACKED = "vila2_packed"
_LOGITS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one forward pass reads; `labels` are -100 where a token carries no loss.

    Padded: `ids`, `labels`, `attention` (B, T). Packed: B is 1, `attention` is None, and `lengths`
    are the samples'. `images`: uint8 (N, H, W, 3), or features (N, tokens, hidden) float.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    attention: torch.Tensor | None
    lengths: tuple[int, ...]
    images: torch.Tensor

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return sum(self.lengths)

    @property
    def loss_tokens(self) -> int:
        """Tokens that are predicted."""
        return int((self.labels[:, 1:] != -100).sum())

    def without_loss(self) -> MicroBatch:
        """The same pass with nothing to learn: for a process that has fewer rows than others."""
        labels = torch.full_like(self.labels, -100)
        return MicroBatch(self.ids, labels, self.attention, self.lengths, self.images)


class Objective(nn.Module):
    """A model whose forward pass is its summed loss."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: MicroBatch, pixel_values: torch.Tensor) -> torch.Tensor:
        """The negative log-likelihood of all tokens that count, nats, summed (a scalar)."""
        device = pixel_values.device
        ids = batch.ids.to(device)
        how: dict[str, Any] = {}
        if batch.attention is None:
            how = _segments(batch.lengths, device)
        else:
            how["attention_mask"] = batch.attention.to(device)
        hidden = self.model.model(
            input_ids=ids, pixel_values=pixel_values, use_cache=False, **how
        ).last_hidden_state[:, :-1]
        targets = batch.labels[:, 1:]
        counted = (targets != -100).nonzero(as_tuple=True)
        rows, columns = (index.to(device) for index in counted)
        picked = hidden[rows, columns]
        wanted = targets[counted].to(device)
        # Every process of a sharded model must use every weight, even if no token counts.
        loss = picked.sum() * 0.0 + self.model.lm_head(hidden[:1, :1]).sum() * 0.0
        for start in range(0, len(wanted), _LOGITS_AT_ONCE):
            part = slice(start, start + _LOGITS_AT_ONCE)
            if len(wanted) > _LOGITS_AT_ONCE:
                loss = loss + checkpoint(
                    self._loss, picked[part], wanted[part], use_reentrant=False
                )
            else:
                loss = loss + self._loss(picked, wanted)
        return loss

    def _loss(self, hidden: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logits = self.model.lm_head(hidden).float()
        return functional.cross_entropy(logits, wanted, reduction="sum")


@contextmanager
def packed_attention(language: Any) -> Iterator[None]:
    """Context in which a language model attends only within the samples of packed rows."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, _attend)
    before = language.config._attn_implementation
    language.set_attn_implementation(PACKED)
    try:
        yield
    finally:
        language.set_attn_implementation(before)


def _segments(lengths: Sequence[int], device: torch.device) -> dict[str, Any]:
    """Sample boundaries for attention, named as flash attention names them."""
    counts = torch.tensor([0, *lengths], dtype=torch.int32)
    ends = counts.cumsum(0, dtype=torch.int32).to(device)
    return {
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None].to(device),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
        "segment_lengths": tuple(lengths),
    }


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segment_lengths: tuple[int, ...],
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention of (1, heads, T, size) within each segment; returns (1, T, heads, size)."""
    grouped = key.shape[1] != query.shape[1]
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))
        made: Any = varlen_attn(
            q, k, v, cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
            scale=scaling, window_size=(-1, 0), enable_gqa=grouped,
        )  # fmt: skip
        return made[None], None
    parts = zip(*(tensor.split(segment_lengths, dim=2) for tensor in (query, key, value)))  # noqa: B905
    attended = [
        functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, dropout_p=dropout, enable_gqa=grouped
        )
        for q, k, v in parts
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None
