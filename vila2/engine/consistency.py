"""Consistency score: how much a caption depends on its image, according to the captioner.

The score is the gain [NLL(caption | reference) - NLL(caption | image)] per token, in nats, where
the reference is a mean image embedding (`reference.py`). A caption that is likely for any image
("a photo of something") has a high log-probability and a gain near 0; one that belongs to another
image has a gain below 0. It is the pointwise mutual information of caption and image
under the model, with one pass in place of the sum over all images.

The model scores itself, so it cannot penalise errors about what it does not see.
`bench/consistency.py` measures how well the score separates matching captions from others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vila2.engine.captioner import Captioner
from vila2.engine.reference import grey_embedding, image_embeddings
from vila2.engine.requests import Scoring

# Positions per pass of the output layer: (positions x vocabulary) is the largest tensor of a pass.
_POSITIONS = 1024


@dataclass(frozen=True, slots=True)
class Score:
    """Mean NLL per token, nats, with the image and with the reference.

    `tokens` counts the caption's tokens and its end token.
    """

    given_image: float
    given_reference: float
    tokens: int

    @property
    def gain(self) -> float:
        """The consistency score, nats per token; above 0 if the image helped."""
        return self.given_reference - self.given_image


class Scorer:
    """Scores captions with a captioner's model; not safe for concurrent use.

    `reference` (image tokens, hidden) is by default the one stored with the model, or a grey
    image's. A score depends only on its own request, except for rounding.
    """

    def __init__(self, captioner: Captioner, *, reference: torch.Tensor | None = None) -> None:
        self._captioner, self._vlm = captioner, captioner.vlm
        if reference is None:
            reference = captioner.reference
        if reference is None:
            reference = grey_embedding(captioner.vlm)
        self._reference = reference.to(captioner.device)

    @property
    def batch_size(self) -> int:
        """Number of requests per pass; each takes two of the captioner's rows."""
        return max(1, self._captioner.batch_size // 2)

    def score(self, requests: Sequence[Scoring]) -> list[Score]:
        """Score every request, in order."""
        rows = [self._row(request) for request in requests]
        # Rows of similar length run together, with little padding.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
        made: dict[int, Score] = {}
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            scores = self._pass([requests[i] for i in chosen], [rows[i] for i in chosen])
            made.update(zip(chosen, scores, strict=True))
        return [made[i] for i in range(len(rows))]

    def _row(self, request: Scoring) -> tuple[list[int], int]:
        """Token ids of the whole row, and the number of caption tokens at its end."""
        chat = self._captioner.chat
        answer = [*chat.text_ids(request.caption), chat.eos_id]
        return chat.prompt(request.question) + answer, len(answer)

    @torch.inference_mode()
    def _pass(
        self, requests: Sequence[Scoring], rows: Sequence[tuple[list[int], int]]
    ) -> list[Score]:
        with self._captioner.vision(requests) as pixel_values:
            images = image_embeddings(self._vlm, pixel_values)
        references = self._reference.to(images.dtype).expand_as(images)
        nll = self._nll([*rows, *rows], torch.cat([images, references]))
        return [
            Score(nll[number], nll[number + len(rows)], tokens)
            for number, (_, tokens) in enumerate(rows)
        ]

    def _nll(self, rows: Sequence[tuple[list[int], int]], images: torch.Tensor) -> list[float]:
        """Mean NLL of each row's answer, with the given embeddings in place of the image's."""
        longest = max(len(ids) for ids, _ in rows)
        ids = torch.full((len(rows), longest), self._captioner.chat.pad_id)
        answers = torch.zeros_like(ids, dtype=torch.bool)
        attention = torch.zeros_like(ids)
        for number, (row, tokens) in enumerate(rows):
            # Padded on the right: positions count from 0, and causal attention never reaches the
            # padding.
            ids[number, : len(row)] = torch.tensor(row)
            attention[number, : len(row)] = 1
            answers[number, len(row) - tokens : len(row)] = True
        ids, attention = ids.to(images.device), attention.to(images.device)
        answers = answers.to(images.device)
        model, decoder = self._vlm.model, self._vlm.part("language")
        embeds = model.get_input_embeddings()(ids)
        places = ids.eq(self._vlm.image_token_id).unsqueeze(-1)
        hidden = decoder(
            inputs_embeds=embeds.masked_scatter(places, images.to(embeds.dtype)),
            attention_mask=attention,
            use_cache=False,
        ).last_hidden_state
        # The logits at a position predict the next token.
        foretelling, wanted = hidden[:, :-1][answers[:, 1:]], ids[answers]
        likely = torch.cat(
            [
                model.get_output_embeddings()(states)
                .float()
                .log_softmax(-1)
                .gather(1, tokens[:, None])
                for states, tokens in zip(
                    foretelling.split(_POSITIONS), wanted.split(_POSITIONS), strict=True
                )
            ]
        )[:, 0]
        counts = [tokens for _, tokens in rows]
        return [-float(part.double().mean()) for part in likely.split(counts)]
