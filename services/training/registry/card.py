"""The model card: Markdown for users of a model, with the YAML header that hubs read. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from vila2.schemas.rest.model_imports import ModelOrigin
from vila2.schemas.rest.training import Evaluation, LineageItem, ModelDetails

LIMITS = (
    "It was trained on captions by a model, which may name what an image does not show, miss what "
    "it does, and repeat the biases of the data behind them.",
    "Its scores hold for the benchmarks named here, each with its interval over images; they say "
    "nothing of other images, languages or questions.",
    "It must not be relied on where a wrong answer can hurt somebody.",
)
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def model_card(model: ModelDetails) -> str:
    """Return the card as Markdown with a YAML header (the Hugging Face hub's model card).

    Names and texts are escaped: they come from users.
    """
    lines = [
        "---",
        *yaml.safe_dump(header(model), sort_keys=False, allow_unicode=True).splitlines(),
        "---",
        "",
        f"# {_plain(model.name)}",
        "",
        f"- Parameters: {model.parameters:,}",
        f"- Digest: sha256 `{model.sha256}`",
        f"- Made from: {_plain(model.parent)}",
        f"- By: job `{model.job}`" + (f" of {_plain(model.run)}" if model.run else ""),
        *(_of_elsewhere(model.origin) if model.origin else _trained_here(model)),
        *_section("Evaluation", _scores(model.evaluations)),
    ]
    return "\n".join(lines) + "\n"


def _trained_here(model: ModelDetails) -> list[str]:
    return [
        *_section("Training data", _data(model.lineage)),
        *_section("Training", _training(model)),
        *_section("Use", _use(model)),
        *_section("Limits", [f"- {limit}" for limit in LIMITS]),
        *_section("Licence", [_licence_text(model.lineage)]),
    ]


def _of_elsewhere(origin: ModelOrigin) -> list[str]:
    """Facts about a model that was added; how it was trained is documented by its makers."""
    if origin.endpoint is not None:
        served = origin.endpoint
        use = (
            f"Served as `{served.model}` at {_plain(served.url)}. The weights behind that name may "
            "change, and seeds are sent but not promised to be kept; "
            + ("log-probabilities are asked for." if served.logprobs else "it gives no "
            "log-probabilities.")
        )  # fmt: skip
        return _section("Use", [use])
    revision = f" at revision `{origin.revision}`" if origin.revision else ""
    facts = [
        f"- Family: {_plain(origin.family)}; {origin.bytes:,} bytes, mostly {origin.dtype}",
        f"- Added from: {origin.kind} {_plain(origin.name)}{revision}",
    ]
    return [
        *_section("Origin", facts),
        *_section("Use", _USE_OF_ANY.splitlines()),
        *_section("Licence", [_plain(origin.licence) if origin.licence else "Not stated."]),
    ]


_LOADING = {
    "transformers": """The weights are safetensors in a layout of transformers:

```python
from transformers import AutoModelForImageTextToText, AutoTokenizer

model = AutoModelForImageTextToText.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```

`AutoProcessor` prepares images and prompts as in training (for some families it needs
torchvision). vLLM serves the directory, with `model_impl="transformers"` if it has no class of its
own for it.""",
    "vila2": """The weights are safetensors. The vision tower is a class of `vila2`, unknown to
transformers. Open the model with `vila2[train]`, which prepares images and prompts as well:

```python
from pathlib import Path

from vila2.model.build import VLM

vlm = VLM.load(Path("FOLDER"))
```""",
}
_GOLDEN = """
`vila2_golden.json`, if it is there, holds a few questions with the trainer's own greedy answers to
compare with."""


def _use(model: ModelDetails) -> list[str]:
    """How to load it."""
    opens_with = str(model.result.get("opens_with", "vila2"))
    return (_LOADING[opens_with] + "\n" + _GOLDEN).splitlines()


_USE_OF_ANY = """Load with `AutoModelForImageTextToText.from_pretrained(FOLDER)` and
`AutoProcessor.from_pretrained(FOLDER)`."""


def header(model: ModelDetails) -> dict[str, Any]:
    """The fields of the YAML block; `license` only if all data has the same one."""
    about: dict[str, Any] = {
        "pipeline_tag": "image-text-to-text",
        "library_name": "transformers",
        "tags": ["vila2", "synthetic-captions"] if _captioners(model.lineage) else ["vila2"],
    }
    licences = _licences(model.lineage)
    if len(licences) == 1 and None not in licences:
        about = {"license": "other", "license_name": str(next(iter(licences))), **about}
    newest = list(_newest(model.evaluations))
    if newest:
        about["model-index"] = [{"name": model.name, "results": [_result(e) for e in newest]}]
    return about


def _result(evaluation: Evaluation) -> dict[str, Any]:
    interval = f"interval {evaluation.interval(4)}, {evaluation.items} items"
    return {
        "task": {"type": "image-text-to-text"},
        "dataset": {"type": evaluation.benchmark, "name": evaluation.version},
        "metrics": [
            {"type": "score", "value": round(evaluation.value, 6), "name": f"score ({interval})"}
        ],
    }


def _data(lineage: Sequence[LineageItem]) -> list[str]:
    if not lineage:
        return ["Not recorded."]
    rows = ["| stage | dataset | samples | text | layers |", "|---|---|---:|---|---|"]
    for item in lineage:
        layers = "; ".join(
            f"{_plain(layer['name'])} by {_plain(layer['captioner'])} (recipe "
            f"`{layer['recipe_hash'][:16].replace('`', '')}`)"
            for layer in item.layers
        )
        policy = str(item.assembly.get("policy", ""))
        rows.append(
            f"| {_plain(item.stage)} | {_plain(item.dataset)}@{item.version} | {item.samples:,} "
            f"| {_plain(policy)} | {layers or '-'} |"
        )
    return rows


def _training(model: ModelDetails) -> list[str]:
    told = model.result.get("stages", {})
    lines = []
    for stage in model.config.get("stages", []):
        name = str(stage["name"])
        early = told.get(name, {}).get("stopped_early")
        lines.append(
            f"- {_plain(name)}: {stage['steps']} steps of {stage['batch_size']} samples, learning "
            f"rate {stage['lr']:g}, trains {', '.join(stage['trainable'])}"
            + (f"; ended early: {_plain(json.dumps(early))}" if early else "")
        )
    for name in ("seed", "precision", "processes"):
        if name in model.config:
            lines.append(f"- {name}: {model.config[name]}")
    return lines or ["Not recorded."]


def _scores(evaluations: Sequence[Evaluation]) -> list[str]:
    if not evaluations:
        return ["Not evaluated yet."]
    return [
        "| benchmark | version | score (interval) | items | job |",
        "|---|---|---:|---:|---|",
        *(
            f"| {_plain(e.benchmark)} | {_plain(e.version)} | {e.value:.3f} ({e.interval()}) "
            f"| {e.items:,} | `{e.job}` |"
            for e in _newest(evaluations)
        ),
    ]


def _newest(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The newest score of each benchmark and version, by name."""
    last: dict[tuple[str, str], Evaluation] = {}
    for evaluation in sorted(evaluations, key=lambda e: e.at):
        last[evaluation.benchmark, evaluation.version] = evaluation
    return [last[key] for key in sorted(last)]


def _licences(lineage: Sequence[LineageItem]) -> set[str | None]:
    return {item.licence or None for item in lineage}


def _licence_text(lineage: Sequence[LineageItem]) -> str:
    if not lineage:
        return "That of the data is not known."
    stated = {item.dataset: item.licence or "not stated" for item in lineage}
    told = "; ".join(f"{_plain(name)}: {_plain(stated[name])}" for name in sorted(stated))
    return f"Of the data: {told}."


def _captioners(lineage: Sequence[LineageItem]) -> bool:
    return any(item.layers for item in lineage)


def _section(title: str, body: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *body] if body else []


def _plain(text: str) -> str:
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
