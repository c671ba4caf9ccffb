"""Any vision-language model that transformers loads, with its own processor and template.

The universal captioner: `AutoModelForImageTextToText` and `generate`, images at the model's own
resolution, on the GPU if there is one. Requests of similar size share a batch, and each row draws
from its own random stream, so a request gives the same answer whatever else is in the batch, up to
the rounding of batched matrix products.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vila2.engine.continuous_batch import draw
from vila2.engine.requests import Generation, Request
from vila2.model.loading import load_model
from vila2.model.processors import open_processor


class TransformersCaptioner:
    """A loaded model; safe for concurrent use: callers take turns, a batch at a time.

    `batch_size` bounds the rows of a batch; `device` is a torch device, by default the first GPU
    and otherwise the CPU. Weights are bfloat16 on a GPU and float32 on a CPU.
    """

    def __init__(self, directory: Path, *, batch_size: int = 16, device: str = "") -> None:
        from transformers import AutoModelForImageTextToText, GenerationConfig

        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.batch_size = batch_size
        self._turn = threading.Lock()
        self.processor = open_processor(directory)
        dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        model = load_model(AutoModelForImageTextToText, directory, dtype=dtype)
        self.model = model.to(self.device).eval()
        stops = self.model.generation_config.eos_token_id
        self._stops = set(stops if isinstance(stops, list) else [] if stops is None else [stops])
        tokenizer = self.processor.tokenizer
        if tokenizer.eos_token_id is not None:
            self._stops.add(tokenizer.eos_token_id)
        # The checkpoint's own settings may penalise or truncate; only the request's sampling
        # applies.
        self.model.generation_config = GenerationConfig(
            eos_token_id=sorted(self._stops) or None,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
        )
        self._markup = _markup(tokenizer)

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[Request],
        *,
        progress: Callable[[int], None] | None = None,
        on_text: Callable[[str], bool] | None = None,
    ) -> list[Generation]:
        """Answer every request, in order; `progress` is called with the number done so far.

        A prompt that does not fit into the model's context is refused in its answer. `on_text` is
        for a single request: it is called with the text so far and ends the answer by returning
        False.
        """
        answers: dict[int, Generation] = {}
        for group in batches([_size(request) for request in requests], self.batch_size):
            with self._turn:
                made = self._halved([requests[i] for i in group], on_text)
            answers.update(zip(group, made, strict=True))
            if progress:
                progress(len(answers))
        return [answers[i] for i in range(len(requests))]

    def _halved(
        self, requests: Sequence[Request], on_text: Callable[[str], bool] | None
    ) -> list[Generation]:
        """Answer a batch; split it if it does not fit into memory or one image is refused."""
        try:
            return self._batch(requests, on_text)
        except (torch.OutOfMemoryError, ValueError) as error:
            if len(requests) > 1:
                middle = len(requests) // 2
                return [
                    *self._halved(requests[:middle], on_text),
                    *self._halved(requests[middle:], on_text),
                ]
            if isinstance(error, torch.OutOfMemoryError):
                raise
            # The model's processor refuses this image: Qwen-VL, one 200 times as wide as high.
            return [_refused(f"image-refused: {error}")]

    def _batch(
        self, requests: Sequence[Request], on_text: Callable[[str], bool] | None
    ) -> list[Generation]:
        from transformers import LogitsProcessorList, StoppingCriteriaList

        inputs = self._encode(requests)
        lengths = [int(length) for length in inputs["attention_mask"].sum(1)]
        refusals = [
            self._too_long(length, request)
            for length, request in zip(lengths, requests, strict=True)
        ]
        if any(refusals):
            fitting = [r for r, refusal in zip(requests, refusals, strict=True) if not refusal]
            made = iter(self._batch(fitting, on_text) if fitting else [])
            return [_refused(refusal) if refusal else next(made) for refusal in refusals]
        rows = _Rows(requests, self._stops)
        # `_Rows` chooses the next token; `generate` takes the only one that is left.
        self.model.generate(
            **{name: self._on_device(value) for name, value in inputs.items()},
            max_new_tokens=max(request.sampling.max_new_tokens for request in requests),
            logits_processor=LogitsProcessorList([rows]),
            stopping_criteria=StoppingCriteriaList([_Ends(rows, self._text, on_text)]),
        )
        return [rows.generation(i, self._text, lengths[i]) for i in range(len(requests))]

    def _encode(self, requests: Sequence[Request]) -> Any:
        """The processor's tensors: prompts left-padded, images at the model's own resolution."""
        made = self.processor.inner.apply_chat_template(
            [self._conversation(request) for request in requests],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True, "padding_side": "left"},
        )
        made.pop("labels", None)  # PaliGemma adds them, for training
        return made

    def _conversation(self, request: Request) -> list[dict[str, Any]]:
        images = [{"type": "image", "image": Image.fromarray(each)} for each in _arrays(request)]
        text = {"type": "text", "text": self._plain(request.question)}
        user = {"role": "user", "content": [*images, text]}
        system = [{"type": "text", "text": self._plain(request.system)}]
        return [{"role": "system", "content": system}, user] if request.system else [user]

    def _plain(self, text: str) -> str:
        """A prompt whose markup (<image>) is broken up by a space, so that it stays text."""
        return self._markup.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)

    def _too_long(self, length: int, request: Request) -> str:
        text = self.model.config.get_text_config()
        longest = getattr(text, "max_position_embeddings", None)
        if longest is None or length + request.sampling.max_new_tokens <= longest:
            return ""
        return (
            f"prompt-too-long: the prompt has {length} tokens with its image, and "
            f"{request.sampling.max_new_tokens} more (sampling.max_new_tokens) exceed the model's "
            f"context of {longest}"
        )

    def _on_device(self, value: torch.Tensor) -> torch.Tensor:
        dtype = self.model.dtype if value.is_floating_point() else None
        return value.to(self.device, dtype)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.processor.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def _refused(why: str) -> Generation:
    return Generation("", 0, None, "refused", refusal=why)


def batches(sizes: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Indices of requests in batches of at most `most`, by size, largest first. Pure.

    Requests of similar size need little padding. Starting with the largest shows at once whether
    the memory suffices.
    """
    order = sorted(range(len(sizes)), key=lambda i: sizes[i], reverse=True)
    return [order[start : start + most] for start in range(0, len(order), most)]


def _size(request: Request) -> tuple[int, int]:
    """Sort key for the length of a prompt: pixels, then characters."""
    pixels = sum(image.shape[0] * image.shape[1] for image in _arrays(request))
    return pixels, len(request.question) + len(request.system)


def _arrays(request: Request) -> list[np.ndarray]:
    return [image for image in request.images if isinstance(image, np.ndarray)]


def _markup(tokenizer: Any) -> re.Pattern[str]:
    """Matches every text that the tokenizer reads as a control token."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens = sorted(added | set(tokenizer.all_special_tokens), key=len, reverse=True)
    return re.compile("|".join(re.escape(token) for token in tokens if token.strip()) or r"(?!)")


class _Rows:
    """Chooses each row's next token: a logits processor that leaves only that token."""

    def __init__(self, requests: Sequence[Request], stops: set[int]) -> None:
        self._requests, self._stops = requests, stops
        self._streams = [
            np.random.default_rng(request.seed) if request.sampling.temperature > 0 else None
            for request in requests
        ]
        self.ids: list[list[int]] = [[] for _ in requests]
        self.logprobs: list[list[float]] = [[] for _ in requests]
        self.reasons: list[str] = ["" for _ in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logits = scores.float()
        tokens = logits.argmax(-1)
        drawn = [i for i, s in enumerate(self._streams) if s is not None and not self.reasons[i]]
        if drawn:
            options = torch.tensor(
                [self._options(i) for i in drawn], dtype=torch.float64, device=logits.device
            )
            temperature, top_p, uniform = options.T[..., None]
            tokens[drawn] = draw(logits[drawn] / temperature.float(), top_p, uniform)
        chosen = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0].tolist()
        for i, (token, logprob) in enumerate(zip(tokens.tolist(), chosen, strict=True)):
            self._take(i, token, logprob)
        return torch.full_like(scores, float("-inf")).scatter_(1, tokens[:, None], 0.0)

    def _options(self, i: int) -> tuple[float, float, float]:
        stream = self._streams[i]
        assert stream is not None
        sampling = self._requests[i].sampling
        return sampling.temperature, sampling.top_p, stream.random()

    def _take(self, i: int, token: int, logprob: float) -> None:
        if self.reasons[i]:
            return
        self.logprobs[i].append(logprob)
        if token in self._stops:
            self.reasons[i] = "stop"
            return
        self.ids[i].append(token)
        if len(self.ids[i]) >= self._requests[i].sampling.max_new_tokens:
            self.reasons[i] = "length"

    def generation(
        self, i: int, text: Callable[[Sequence[int]], str], prompt_tokens: int
    ) -> Generation:
        """The answer of a row."""
        return Generation(
            text=text(self.ids[i]),
            tokens=len(self.ids[i]),
            logprob=float(np.mean(self.logprobs[i])),
            finish_reason=self.reasons[i] or "length",
            prompt_tokens=int(prompt_tokens),
        )


class _Ends:
    """A stopping criterion: a row ends at its own limit, not at the longest of the batch."""

    def __init__(
        self,
        rows: _Rows,
        text: Callable[[Sequence[int]], str],
        on_text: Callable[[str], bool] | None,
    ) -> None:
        self._rows, self._text, self._on_text = rows, text, on_text

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        ended = [bool(reason) for reason in self._rows.reasons]
        if self._on_text is not None and not self._on_text(self._text(self._rows.ids[0])):
            ended = [True for _ in ended]
        return torch.tensor(ended, device=input_ids.device)
