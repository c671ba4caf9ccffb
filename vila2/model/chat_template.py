"""The chat format of an existing model, derived from its own chat template.

The template is rendered once with markers in place of questions and answers; the text between the
markers is the format's fixed text. Prompts then have the same token ids as those of the model's own
processor (a test compares them), only answers are in the loss, and untrusted text cannot become
markup.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError as TemplateFailed

from vila2.data.assembly import TrainingText
from vila2.model.chat import ChatFormat, Encoded

# Private-use characters (Unicode 16, section 23.5), which no template writes.
_MARK = "\ue0f0{}\ue0f1"


class TemplateError(ValueError):
    """A chat template unusable for training or captioning; the message names what it lacks."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The fixed text of a conversation with a given number of turns.

    `asks[k]` precedes question k, `answers[k]` is between it and its answer; `lead` is white space
    that the template writes before an answer but not in the generation prompt.
    """

    asks: tuple[str, ...]
    answers: tuple[str, ...]
    lead: str


class TemplateChat(ChatFormat):
    """Encodes samples as a model's own chat template and tokenizer do.

    `image` is the text that one image becomes, with `image_tokens` tokens of `image_id`;
    `stops` are the ids that the model ends with (its generation configuration's).
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        image_tokens: int,
        image_id: int,
        image: str,
        stops: frozenset[int] = frozenset(),
    ) -> None:
        self.tokenizer = tokenizer
        self.image_tokens = image_tokens
        self._image_id, self._image_text = image_id, image
        self._placeholder = str(tokenizer.convert_ids_to_tokens(image_id))
        self._special = sorted(
            (str(token) for token in tokenizer.get_added_vocab()), key=len, reverse=True
        )
        self._cache: dict[str, list[int]] = {}
        self.fixed = lru_cache(maxsize=64)(self._read_template)
        self._answers_are_lists = self._takes_lists()
        self._end = self._read_end()
        self._end_id = int(tokenizer.convert_tokens_to_ids(self._end or tokenizer.eos_token))
        self._stops = stops | {self._end_id}
        first = self._render([_user("?", image=True)], ask=True)
        if first.count(self._placeholder) != 1:
            raise TemplateError(
                f"the chat template writes {first.count(self._placeholder)} {self._placeholder!r} "
                "for an image; one is needed in chat_template.jinja"
            )
        # The start token, if the tokenizer adds it and not the template.
        bos, adds = tokenizer.bos_token_id, tokenizer.encode("a")
        self._bos_text = str(tokenizer.bos_token or "")
        self._template_begins = bool(self._bos_text) and first.startswith(self._bos_text)
        puts = bos is not None and adds[:1] == [bos] and not self._template_begins
        self._bos_ids = [int(bos)] if puts else []

    @property
    def pad_id(self) -> int:
        """Id of the padding token; the end token if the tokenizer has none."""
        pad = self.tokenizer.pad_token_id
        return self._end_id if pad is None else int(pad)

    @property
    def eos_id(self) -> int:
        """Id of the token that ends an answer in training."""
        return self._end_id

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end an answer when the model writes them."""
        return self._stops

    def text_ids(self, text: str) -> list[int]:
        """Token ids of plain text; the model's markup inside it stays text."""
        ids = super().text_ids(text)
        if self._image_id in ids:
            # A tokenizer may know the image token as a plain one, which it does not split.
            ids = super().text_ids(text.replace(self._placeholder, " ".join(self._placeholder)))
        return ids

    def prompt(self, question: str) -> list[int]:
        """Ids of a prompt that asks `question` about the image, up to the start of the answer."""
        fixed = self.fixed(1, True)
        return [*self._bos_ids, *self._joined(fixed.asks[0], question, fixed.answers[0])]

    def question_of(self, rendered: str) -> str:
        """The question of a prompt that the model's template rendered."""
        mark = _MARK.format("q")
        start, end = self._render([_user(mark, image=True)], ask=True).split(mark)
        if not (rendered.startswith(start) and rendered.endswith(end)):
            raise ValueError(f"text_input: write {start}QUESTION{end}, with one image")
        return rendered[len(start) : len(rendered) - len(end)]

    def encode(self, text: TrainingText, *, max_length: int) -> Encoded:
        """Encode one training sample within `max_length` tokens.

        Plain text follows the image and is in the loss, as in pretraining. Turns follow the
        template; only the answer and its end token are in the loss. Turns that do not fit are
        dropped from the end, and plain text that is too long is cut. Either sets `truncated`.
        """
        ids: list[int] = []
        loss: list[bool] = []
        truncated = False
        if text.plain:
            ids = self._start()
            loss = [False] * len(ids)
            plain = [*self.text_ids(text.plain), self.eos_id]
            room = max_length - len(ids)
            truncated = len(plain) > room
            ids += plain[:room]
            loss += [True] * min(len(plain), room)
        fixed = self.fixed(len(text.turns), not text.plain) if text.turns else Fixed((), (), "")
        for turn, before, between in zip(text.turns, fixed.asks, fixed.answers, strict=True):
            asked = self._joined(before, turn.question, between)
            if not ids:
                asked = [*self._bos_ids, *asked]
            answer = [*self.text_ids(fixed.lead + turn.answer), self.eos_id]
            if len(ids) + len(asked) + len(answer) > max_length:
                truncated = True
                break
            ids += asked + answer
            loss += [False] * len(asked) + [True] * len(answer)
        if not ids:
            # The first turn does not fit: only the image is kept, which is not in the loss.
            ids = self._start()
            loss = [False] * len(ids)
        return Encoded(ids, loss, truncated)

    def _start(self) -> list[int]:
        begins = self._bos_text if self._template_begins else ""
        return [*self._bos_ids, *self._markup(begins + self._image_text)]

    def _joined(self, before: str, question: str, after: str) -> list[int]:
        """Ids of fixed text around a question, tokenized whole like the model's processor does."""
        if not any(token in question for token in self._special):
            return self._markup(before + question + after)
        # The question contains markup: encode it separately, as text.
        return [*self._markup(before), *self.text_ids(question), *self._markup(after)]

    def _markup(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _render(self, messages: list[dict[str, Any]], *, ask: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask)
        )

    def _read_template(self, turns: int, image: bool) -> Fixed:
        """Fixed text of a conversation of `turns` turns, with the image's text in place."""
        messages: list[dict[str, Any]] = []
        marks: list[str] = []
        for number in range(turns):
            question, answer = _MARK.format(f"q{number}"), _MARK.format(f"a{number}")
            messages += [_user(question, image=image and not number), self._answer(answer)]
            marks += [question, answer]
        asked = self._split(self._render(messages[:-1], ask=True), marks[:-1])
        told = self._split(self._render(messages, ask=False), marks)
        between = asked[-1]  # the text before the last answer in the generation prompt
        lead = told[-2].removeprefix(between) if told[-2].startswith(between) else ""
        asks = [asked[0]]
        for number in range(1, turns):
            # If the template ends an answer with a token, that token goes with the answer.
            after = asked[2 * number]
            ends = bool(self._end) and after.lstrip().startswith(self._end)
            asks.append(after.lstrip()[len(self._end) :] if ends else after)
        if not image and self._template_begins:
            asks[0] = asks[0].removeprefix(self._bos_text)
        fill = self._placeholder
        return Fixed(
            tuple(ask.replace(fill, self._image_text) for ask in asks),
            (between.replace(fill, self._image_text),) * turns,
            lead if not lead.strip() else "",
        )

    def _split(self, rendered: str, marks: list[str]) -> list[str]:
        pieces = []
        for mark in marks:
            before, found, rendered = rendered.partition(mark)
            if not found:
                raise TemplateError(
                    "the chat template does not write out every question and answer in order; "
                    "it must render messages whose content is a list of parts"
                )
            pieces.append(before)
        return [*pieces, rendered]

    def _read_end(self) -> str:
        """The token that the template writes after an answer; empty if there is none."""
        mark = _MARK.format("a")
        told = self._render([_user("?", image=True), self._answer(mark)], ask=False)
        after = self._split(told, [mark])[-1].lstrip()
        end = next((token for token in self._special if after.startswith(token)), "")
        if not (end or self.tokenizer.eos_token):
            raise TemplateError(
                "neither the chat template nor the tokenizer has a token that ends an answer; "
                "set eos_token in tokenizer_config.json"
            )
        return end

    def _takes_lists(self) -> bool:
        """Whether the template reads an answer as a list of parts; else it takes plain strings."""
        mark = _MARK.format("a")
        for lists in (True, False):
            self._answers_are_lists = lists
            try:
                told = self._render([_user("?", image=True), self._answer(mark)], ask=False)
            except (TemplateFailed, TypeError, KeyError, ValueError):
                continue  # the template expects the other form
            if mark in told and "'type'" not in told:
                return lists
        raise TemplateError(
            "the chat template does not write out an answer, neither as a string nor as a list of "
            "parts; correct chat_template.jinja"
        )

    def _answer(self, text: str) -> dict[str, Any]:
        parts = [{"type": "text", "text": text}]
        return {"role": "assistant", "content": parts if self._answers_are_lists else text}


def _user(question: str, *, image: bool) -> dict[str, Any]:
    parts = [{"type": "image"}] if image else []
    return {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
