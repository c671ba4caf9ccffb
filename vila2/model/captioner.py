"""The batched captioner: pictures and questions in, answers out. One code path for all uses.

Preview, batch captioning and evaluation call the same object, embedded or behind a server. Rows
of a batch are left-padded, share one KV cache, and leave the batch when they end, so a long answer
does not hold the short ones. A row's random draws depend on its own seed and position alone, so
the same request gives the same caption whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vila2.model.build import VLM
from vila2.model.features import VisionFeatures


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn; temperature 0 is greedy decoding."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 64


@dataclass(frozen=True, slots=True)
class Request:
    """One question about one picture; `pixels` is uint8 (H, W, 3) at the model's input size."""

    pixels: np.ndarray
    question: str
    seed: int
    sampling: Sampling
    sha256: str = ""  # of the picture, where its features may be cached


@dataclass(frozen=True, slots=True)
class Generation:
    """An answer. `logprob` is the mean over its tokens in nats; `finish_reason` stop or length."""

    text: str
    tokens: int
    logprob: float
    finish_reason: str


class Captioner:
    """A loaded model that answers requests in batches; not safe for concurrent use."""

    def __init__(self, vlm: VLM, *, batch_size: int = 64, device: str = "cpu") -> None:
        self.vlm = vlm
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.vlm.model.to(self.device).eval()
        self.chat = vlm.chat()
        self._features: VisionFeatures | None = None

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        batch_size: int = 64,
        device: str = "cpu",
        threads: int | None = None,
    ) -> Captioner:
        """Load a saved model directory; `threads` limits torch's CPU threads of this process."""
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(VLM.load(directory), batch_size=batch_size, device=device)

    @property
    def image_size(self) -> int:
        """Side of the square picture that a request must carry, pixels."""
        return self.vlm.preset.image_size

    def use_features(self, features: VisionFeatures) -> None:
        """Take the tower's output for known pictures from a cache instead of computing it."""
        self._features = features

    def generate(
        self,
        requests: Sequence[Request],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Answer every request, in order. `progress` is told how many are done so far."""
        prompts = [self.chat.prompt(request.question) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: len(prompts[i]))
        answers: list[Generation | None] = [None] * len(requests)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = self._generate_batch([requests[i] for i in rows], [prompts[i] for i in rows])
            for i, generation in zip(rows, batch, strict=True):
                answers[i] = generation
            if progress:
                progress(min(start + self.batch_size, len(order)))
        return [answer for answer in answers if answer is not None]

    @torch.inference_mode()
    def _generate_batch(
        self, requests: Sequence[Request], prompts: Sequence[list[int]]
    ) -> list[Generation]:
        from transformers import DynamicCache

        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self.chat.pad_id)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        ids = ids.to(self.device)
        attention = (ids != self.chat.pad_id).long()
        positions = (attention.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=self.vlm.model.config.get_text_config())
        draws = _Draws(requests)
        alive = list(range(len(requests)))
        out: list[list[int]] = [[] for _ in requests]
        logprobs: list[list[float]] = [[] for _ in requests]
        stopped = [False] * len(requests)
        limits = [request.sampling.max_new_tokens for request in requests]

        with self._vision(requests) as pixel_values:
            logits = self.vlm.model(
                input_ids=ids,
                pixel_values=pixel_values,
                attention_mask=attention,
                position_ids=positions,
                past_key_values=cache,
                logits_to_keep=1,
            ).logits[:, -1]
        position = positions[:, -1]
        while True:
            tokens, chosen = draws.choose(logits.float(), alive)
            keep: list[int] = []
            for slot, row in enumerate(alive):
                logprobs[row].append(float(chosen[slot]))
                if int(tokens[slot]) == self.chat.eos_id:
                    stopped[row] = True
                    continue
                out[row].append(int(tokens[slot]))
                if len(out[row]) < limits[row]:
                    keep.append(slot)
            if not keep:
                break
            if len(keep) < len(alive):
                index = torch.tensor(keep, device=self.device)
                cache.batch_select_indices(index)
                tokens, attention, position = tokens[index], attention[index], position[index]
                alive = [alive[slot] for slot in keep]
            position = position + 1
            attention = torch.cat([attention, attention.new_ones(len(alive), 1)], 1)
            logits = self.vlm.model(
                input_ids=tokens[:, None],
                attention_mask=attention,
                position_ids=position[:, None],
                past_key_values=cache,
            ).logits[:, -1]
        return [
            Generation(
                text=self.chat.decode(out[row]),
                tokens=len(out[row]),
                logprob=float(np.mean(logprobs[row])),
                finish_reason="stop" if stopped[row] else "length",
            )
            for row in range(len(requests))
        ]

    def _vision(self, requests: Sequence[Request]) -> VisionInput:
        return VisionInput(self.vlm, self._features, requests, self.device)


class VisionInput:
    """Context that yields `pixel_values`, with the tower bypassed where all features are cached."""

    def __init__(
        self,
        vlm: VLM,
        features: VisionFeatures | None,
        requests: Sequence[Request],
        device: torch.device,
    ) -> None:
        self._vlm = vlm
        self._features = features
        self._requests = requests
        self._device = device
        self._bypass: object | None = None

    def __enter__(self) -> torch.Tensor:
        digests = [request.sha256 for request in self._requests]
        if self._features is not None and self._features.has(digests):
            self._bypass = self._features.bypass(self._vlm)
            return self._features.take(digests).to(self._device)
        stacked = np.stack([request.pixels for request in self._requests])
        return self._vlm.normalise(torch.from_numpy(stacked).to(self._device))

    def __exit__(self, *_: object) -> None:
        if self._bypass is not None:
            self._bypass.restore()  # type: ignore[attr-defined]


class _Draws:
    """Chooses next tokens: greedy, or top-p sampling with one random stream per request."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._sampling = [request.sampling for request in requests]
        self._streams = [
            np.random.default_rng(request.seed) if request.sampling.temperature > 0 else None
            for request in requests
        ]
        self._greedy = all(stream is None for stream in self._streams)

    def choose(
        self, logits: torch.Tensor, alive: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Next token ids (rows,) and their log-probabilities (rows,) under the plain softmax."""
        logprobs = logits.log_softmax(-1)
        tokens = logits.argmax(-1)
        if not self._greedy:
            for slot, row in enumerate(alive):
                stream = self._streams[row]
                if stream is not None:
                    tokens[slot] = self._draw(logits[slot], self._sampling[row], stream)
        return tokens, logprobs.gather(1, tokens[:, None])[:, 0]

    @staticmethod
    def _draw(logits: torch.Tensor, sampling: Sampling, stream: np.random.Generator) -> int:
        probabilities = (logits / sampling.temperature).softmax(-1).double().cpu().numpy()
        order = np.argsort(-probabilities)
        cumulative = np.cumsum(probabilities[order])
        # Nucleus (Holtzman et al. 2020): the smallest set whose mass reaches top_p.
        count = int(np.searchsorted(cumulative, sampling.top_p)) + 1
        kept = order[:count]
        mass = probabilities[kept] / probabilities[kept].sum()
        return int(stream.choice(kept, p=mass))
