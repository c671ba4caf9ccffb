"""The chat format: how an image, plain text and turns become token ids and a loss mask.

One sample reads `<s><image>...<image>plain</s><user>question<assistant>answer</s>...`. In plain
text every token is in the loss (as in VILA's pretraining), in turns only the answer. The same
format is stored in the tokenizer as a chat template, so that any server renders the same prompt; a
test checks that both agree. If the language model comes from a checkpoint, its own start and end
tokens are used (`<s>` and `</s>` above), and the rest is added to its tokenizer. Existing models
keep their own format: `vila2.model.chat_template`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vila2.data.assembly import TrainingText

BOS, EOS, PAD = "<s>", "</s>", "<pad>"
IMAGE, USER, ASSISTANT = "<image>", "<user>", "<assistant>"
SPECIAL_TOKENS = (PAD, BOS, EOS, IMAGE, USER, ASSISTANT)
# Tokens that a checkpoint's tokenizer may lack; the last one only if it has no padding token.
ADDED_TOKENS = (IMAGE, USER, ASSISTANT, PAD)

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set ns = namespace(text='') %}"
    "{% if message['content'] is string %}{% set ns.text = message['content'] %}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}"
    "{% else %}{% set ns.text = ns.text + part['text'] %}{% endif %}"
    "{% endfor %}{% endif %}{{ '<user>' + ns.text }}"
    "{% else %}{{ '<assistant>' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids, and for each whether predicting it counts in the loss (same length)."""

    ids: list[int]
    loss: list[bool]
    truncated: bool = False


class ChatFormat:
    """Encodes samples for one tokenizer and one number of image tokens."""

    def __init__(self, tokenizer: Any, *, image_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.image_tokens = image_tokens
        self._image, self._user, self._assistant = (
            int(tokenizer.convert_tokens_to_ids(token)) for token in (IMAGE, USER, ASSISTANT)
        )
        self._bos = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        self._cache: dict[str, list[int]] = {}

    @cached_property
    def pad_id(self) -> int:
        """Id of the padding token."""
        return int(self.tokenizer.pad_token_id)

    @cached_property
    def eos_id(self) -> int:
        """Id of the token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end an answer when the model writes them."""
        return frozenset({self.eos_id})

    def text_ids(self, text: str) -> list[int]:
        """Token ids of plain text; markup inside it is encoded as text, never as special tokens."""
        ids = self._cache.get(text)
        if ids is None:
            ids = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
            if len(self._cache) < 200_000:
                self._cache[text] = ids
        return ids

    def _start(self) -> list[int]:
        return self._bos + [self._image] * self.image_tokens

    def prompt(self, question: str) -> list[int]:
        """Ids of the image and `question`, up to the start of the answer."""
        return [*self._start(), self._user, *self.text_ids(question), self._assistant]

    def question_of(self, rendered: str) -> str:
        """The plain-text question of a prompt that `CHAT_TEMPLATE` rendered.

        A server receives rendered prompts. Markup inside the question must remain text there too,
        so the prompt is split into its parts instead of being tokenized as a whole.
        """
        start, end = f"{self.tokenizer.bos_token or ''}{IMAGE}{USER}", ASSISTANT
        if not (rendered.startswith(start) and rendered.endswith(end)):
            raise ValueError(f"text_input: write {start}QUESTION{end}, with one image")
        return rendered[len(start) : -len(end)]

    def encode(self, text: TrainingText, *, max_length: int) -> Encoded:
        """Encode one training sample within `max_length` tokens.

        Truncation order: whole turns are dropped from the end; if the plain text alone is too
        long, its tail is cut. What was cut is reported in `truncated`.
        """
        ids = self._start()
        loss = [False] * len(ids)
        truncated = False
        if text.plain:
            plain = [*self.text_ids(text.plain), self.eos_id]
            room = max_length - len(ids)
            truncated = len(plain) > room
            ids += plain[:room]
            loss += [True] * min(len(plain), room)
        for turn in text.turns:
            asked = [self._user, *self.text_ids(turn.question), self._assistant]
            answer = [*self.text_ids(turn.answer), self.eos_id]
            if len(ids) + len(asked) + len(answer) > max_length:
                truncated = True
                break
            ids += asked + answer
            loss += [False] * len(asked) + [True] * len(answer)
        return Encoded(ids, loss, truncated)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, without special tokens and surrounding white space."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()


def load_chat(directory: Path, *, image_tokens: int) -> ChatFormat:
    """The chat format of a saved model's tokenizer, without its weights."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )
    return ChatFormat(tokenizer, image_tokens=image_tokens)


def add_chat_tokens(tokenizer: Any) -> None:
    """Give a checkpoint's tokenizer this chat format: its tokens and its template, in place.

    Raises `ValueError` if the tokenizer has no end-of-text token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(
            "the tokenizer names no eos_token, so an answer could not end; set it in its "
            "tokenizer_config.json"
        )
    named: dict[str, Any] = {"extra_special_tokens": [IMAGE, USER, ASSISTANT]}
    if tokenizer.pad_token_id is None:
        named["pad_token"] = PAD
    tokenizer.add_special_tokens(named, replace_extra_special_tokens=False)
    tokenizer.chat_template = CHAT_TEMPLATE


def train_tokenizer(texts: Iterable[str], *, vocabulary: int) -> Any:
    """Train a byte-level BPE tokenizer of `vocabulary` entries with this chat format's tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Digits stay together: a box's coordinate is then one token, not three.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[IMAGE, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
