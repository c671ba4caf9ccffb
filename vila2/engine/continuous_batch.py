"""Continuous batching: a running batch that requests join and leave at any step.

Rows are left-padded and share one KV cache. A row leaves when it ends, so a long answer does not
delay short ones, and new rows take its place: they are prefilled together (one forward pass over
their prompts) and their cache joins the others' (`kv_cache.py`). See Yu et al. 2022 ("Orca",
section 3); here the prompts contain an image.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from vila2.engine.kv_cache import Slots
from vila2.engine.requests import Generation, Request, Scoring
from vila2.model.build import VLM
from vila2.model.chat import ChatFormat
from vila2.model.features import VisionFeatures


@dataclass(slots=True)
class _Row:
    ticket: Hashable
    request: Request
    length: int  # positions in the cache that belong to this row
    stream: np.random.Generator | None
    last: int = 0  # its newest token
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def options(self) -> tuple[float, float, float]:
        """Temperature, top_p and the next number of the row's stream, for a row that is drawn."""
        assert self.stream is not None
        sampling = self.request.sampling
        return sampling.temperature, sampling.top_p, self.stream.random()


class RunningBatch:
    """Not safe for concurrent use; `step` gives every row one token."""

    def __init__(
        self,
        vlm: VLM,
        chat: ChatFormat,
        *,
        device: torch.device,
        features: VisionFeatures | None = None,
    ) -> None:
        self._vlm, self._chat, self._device, self._features = vlm, chat, device, features
        self._rows: list[_Row] = []
        self._slots = Slots()
        self._logits = torch.empty(0)

    def __len__(self) -> int:
        return len(self._rows)

    def partial(self, ticket: Hashable) -> str:
        """The text of a row so far; empty for an unknown ticket."""
        for row in self._rows:
            if row.ticket == ticket:
                return self._chat.decode(row.ids)
        return ""

    @torch.inference_mode()
    def drop(self, tickets: set[Hashable]) -> None:
        """Remove rows whose requests were cancelled."""
        self._leave([slot for slot, row in enumerate(self._rows) if row.ticket in tickets])

    @torch.inference_mode()
    def admit(
        self,
        tickets: Sequence[Hashable],
        requests: Sequence[Request],
        prompts: Sequence[Sequence[int]],
    ) -> None:
        """Prefill prompts (token ids, including the image's) and add their rows to the batch."""
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self._chat.pad_id)
        attention = torch.zeros_like(ids)
        for slot, prompt in enumerate(prompts):
            ids[slot, longest - len(prompt) :] = torch.tensor(prompt)
            attention[slot, longest - len(prompt) :] = 1
        ids, attention = ids.to(self._device), attention.to(self._device)
        cache = self._empty_cache()
        with self._vision(requests) as pixel_values:
            logits = self._vlm.model(
                input_ids=ids,
                pixel_values=pixel_values,
                attention_mask=attention,
                position_ids=(attention.cumsum(1) - 1).clamp(min=0),
                past_key_values=cache,
                logits_to_keep=1,
            ).logits[:, -1]
        self._slots.join(cache, rows=len(self._rows))
        self._logits = torch.cat([self._logits, logits]) if self._rows else logits
        for ticket, request, prompt in zip(tickets, requests, prompts, strict=True):
            drawn = request.sampling.temperature > 0
            stream = np.random.default_rng(request.seed) if drawn else None
            self._rows.append(_Row(ticket, request, len(prompt), stream))

    @torch.inference_mode()
    def step(self) -> list[tuple[Hashable, Generation]]:
        """Give every row its next token; returns the rows that ended."""
        logits = self._logits.float()
        tokens = _choose(logits, self._rows)
        chosen = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0].tolist()
        ended: list[tuple[Hashable, Generation]] = []
        leaving: list[int] = []
        for slot, (row, token) in enumerate(zip(self._rows, tokens.tolist(), strict=True)):
            row.logprobs.append(chosen[slot])
            row.last = token
            stopped = token in self._chat.eos_ids
            if not stopped:
                row.ids.append(token)
            if stopped or len(row.ids) >= row.request.sampling.max_new_tokens:
                ended.append((row.ticket, self._generation(row, stopped=stopped)))
                leaving.append(slot)
        self._leave(leaving)
        if self._rows:
            self._forward()
        return ended

    def _forward(self) -> None:
        for row in self._rows:
            row.length += 1
        tokens = torch.tensor([[row.last] for row in self._rows], device=self._device)
        lengths = torch.tensor([[row.length] for row in self._rows], device=self._device)
        self._logits = self._vlm.model(
            input_ids=tokens,
            attention_mask=self._slots.attention(lengths),
            position_ids=lengths - 1,
            past_key_values=self._slots.cache(len(self._rows)),
        ).logits[:, -1]

    def _leave(self, slots: Sequence[int]) -> None:
        """Remove rows; the last row moves into each free slot."""
        for slot in sorted(slots, reverse=True):
            last = len(self._rows) - 1
            if slot != last:
                self._slots.move(last, slot)
                self._logits[slot] = self._logits[last]
                self._rows[slot] = self._rows[last]
            self._rows.pop()
        self._logits = self._logits[: len(self._rows)]
        self._slots.trim(max((row.length for row in self._rows), default=0))

    def _generation(self, row: _Row, *, stopped: bool) -> Generation:
        return Generation(
            text=self._chat.decode(row.ids),
            tokens=len(row.ids),
            logprob=float(np.mean(row.logprobs)),
            finish_reason="stop" if stopped else "length",
            prompt_tokens=row.length + 1 - len(row.logprobs),
        )

    def _empty_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self._vlm.model.config.get_text_config())

    def _vision(self, requests: Sequence[Request]) -> VisionInput:
        return VisionInput(self._vlm, self._features, requests, self._device)


class VisionInput:
    """Context that yields `pixel_values`, with the tower bypassed if all features are cached."""

    def __init__(
        self,
        vlm: VLM,
        features: VisionFeatures | None,
        requests: Sequence[Request | Scoring],
        device: torch.device,
    ) -> None:
        self._vlm = vlm
        self._features = features
        self._requests = requests
        self._device = device
        self._bypass: object | None = None

    def __enter__(self) -> torch.Tensor:
        dtype = self._vlm.model.dtype
        digests = [request.sha256 for request in self._requests]
        if self._features is not None and self._features.has(digests):
            self._bypass = self._features.bypass(self._vlm)
            return self._features.take(digests).to(self._device, dtype)
        stacked = np.stack([request.pixels for request in self._requests])
        return self._vlm.normalise(torch.from_numpy(stacked).to(self._device)).to(dtype)

    def __exit__(self, *_: object) -> None:
        if self._bypass is not None:
            self._bypass.restore()  # type: ignore[attr-defined]


def _choose(logits: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
    """Next token ids (rows,): greedy, or drawn from the row's own random stream."""
    tokens = logits.argmax(-1)
    drawn = [slot for slot, row in enumerate(rows) if row.stream is not None]
    if drawn:
        options = torch.tensor([rows[slot].options() for slot in drawn], dtype=torch.float64)
        temperature, top_p, uniform = options.to(logits.device).T[..., None]
        tokens[drawn] = draw(logits[drawn] / temperature.float(), top_p, uniform)
    return tokens


def draw(logits: torch.Tensor, top_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Token ids (rows,) from the nucleus of each row of logits (rows, vocabulary).

    The nucleus is the smallest set of tokens whose mass reaches `top_p` (Holtzman et al. 2020);
    `uniform` in [0, 1) picks one by the inverse of the cumulative distribution. Both (rows, 1).
    """
    likely, order = logits.softmax(-1).double().sort(dim=-1, descending=True, stable=True)
    mass = likely.cumsum(-1)
    last = (mass < top_p).sum(-1, keepdim=True).clamp(max=mass.shape[-1] - 1)
    chosen = (mass <= uniform * mass.gather(1, last)).sum(-1, keepdim=True)
    return order.gather(1, torch.minimum(chosen, last))[:, 0]
