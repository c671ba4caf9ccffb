"""Prompts as text, rendered with the model's own chat template; Triton finds the question there."""

from __future__ import annotations

import json
from dataclasses import dataclass
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

    @classmethod
    def of_model(cls, objects: ObjectStore, prefix: str) -> PromptFormat:
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
        return cls(environment.from_string(source), tokens, int(preset["image_size"]))

    def render(self, question: str) -> str:
        """The prompt for one image and one question."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        return self.template.render(messages=messages, add_generation_prompt=True, **self.tokens)


def _content(token: Any) -> str:
    """A special token is stored as a string or as a dictionary."""
    return str(token["content"]) if isinstance(token, dict) else str(token or "")
