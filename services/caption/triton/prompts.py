"""Prompts for the vLLM backend, rendered with the model's own chat template."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.chassis.storage.objects import ObjectStore
from vila2.model.preset import PRESET_FILE


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A model's prompt format: chat template, special tokens, image size in pixels."""

    template: Template
    tokens: dict[str, str]
    image_size: int
    # Of a server that tokenizes the prompt as a whole, as vLLM does: texts that its tokenizer takes
    # for one token, and whether it begins every text with `bos_token` by itself.
    special: tuple[str, ...] = ()
    adds_bos: bool = False

    @classmethod
    def of_model(cls, objects: ObjectStore, prefix: str, *, whole: bool = False) -> PromptFormat:
        """Read the format from the model's small files, without downloading the weights."""
        tokenizer: dict[str, Any] = json.loads(objects.get(f"{prefix}/tokenizer_config.json"))
        preset = json.loads(objects.get(f"{prefix}/{PRESET_FILE}"))
        try:
            source = objects.get(f"{prefix}/chat_template.jinja").decode()
        except KeyError:
            source = tokenizer["chat_template"]
        # A template is untrusted code: it may access the messages and nothing else.
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        names = ("bos_token", "eos_token")
        tokens = {name: _content(tokenizer.get(name)) for name in names}
        made = cls(environment.from_string(source), tokens, int(preset["image_size"]))
        if not whole:
            return made
        vocabulary: dict[str, Any] = json.loads(objects.get(f"{prefix}/tokenizer.json"))
        special = [str(token["content"]) for token in vocabulary.get("added_tokens", ())]
        return replace(
            made,
            special=tuple(sorted(special, key=len, reverse=True)),
            adds_bos=_begins_with(vocabulary.get("post_processor"), tokens["bos_token"]),
        )

    def render(self, question: str) -> str:
        """The prompt for one image and one question.

        If the server tokenizes it as a whole, markup in the question is broken up to stay text
        (`<image>` becomes `< image>`), and the first token is left to a tokenizer that adds it.
        """
        for text in self.special:
            if len(text) > 1:
                question = question.replace(text, f"{text[0]} {text[1:]}")
        prompt = self._rendered(question)
        return prompt.removeprefix(self.tokens["bos_token"]) if self.adds_bos else prompt

    def _rendered(self, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        return self.template.render(messages=messages, add_generation_prompt=True, **self.tokens)


def _begins_with(processor: Any, token: str) -> bool:
    """Whether a tokenizer's post-processor puts this token before a single text.

    The JSON is that of the library `tokenizers`: a `TemplateProcessing`, alone or in a sequence.
    """
    if not isinstance(processor, dict) or not token:
        return False
    if processor.get("type") == "Sequence":
        return any(_begins_with(each, token) for each in processor.get("processors", ()))
    first: Any = next(iter(processor.get("single", ())), {})
    return first.get("SpecialToken", {}).get("id") == token if isinstance(first, dict) else False


def _content(token: Any) -> str:
    """A special token is stored as a string or as a dictionary."""
    return str(token["content"]) if isinstance(token, dict) else str(token or "")
