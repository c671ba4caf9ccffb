"""A report of an invented run, with every part that a report can have."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image, ImageDraw

from vila2.evaluation.metrics.captions import compute

BENCHMARKS = ("captions", "colours", "counting", "text", "grounding")
HOSTILE = "<script>alert(1)</script> [bold]$x$ \x1b[31mred\u202e {{ 7 * 7 }} \" onload='x'"
CAPTIONS = {
    "baseline": "a red circle",
    "round 1": "An image of two objects: a small red circle and a large blue square.",
    "round 2": "There are two objects. A small red circle is left of a large blue square.",
}


def png(*, side: int = 32, colour: str = "#c03028") -> str:
    """Draw a small image and return it as the report holds it."""
    image = Image.new("RGB", (side, side), "#d8d4c8")
    draw = ImageDraw.Draw(image)
    draw.ellipse((3, 4, 13, 14), fill=colour)
    draw.rectangle((16, 14, 29, 27), fill="#2860b0")
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return base64.b64encode(sink.getvalue()).decode()


def _trained(name: str, level: float, *, steps: int = 400) -> dict[str, Any]:
    losses = [(step, 0.4 + 2.6 * 0.99**step * (1.4 - level)) for step in range(0, steps + 1, 20)]
    return {
        "name": name,
        "model": f"tiny-{abs(hash(name)) % 0xFFFF:04x}",
        "scores": {
            benchmark: {"score": s, "low": s - 0.03, "high": s + 0.03, "n": 400}
            for offset, benchmark in enumerate(BENCHMARKS)
            for s in [level - 0.07 * offset]
        },
        "stages": [
            {"name": stage, "steps": steps, "seconds": 71.5, "losses": losses}
            for stage in ("align", "pretrain", "finetune")
        ],
        "seconds": 214.5,
    }


def _round(index: int, name: str, kind: str, level: float, **more: Any) -> dict[str, Any]:
    macro = {"score": level - 0.14, "low": level - 0.16, "high": level - 0.12}
    return {**_trained(name, level), "index": index, "kind": kind, "macro": macro, **more}


def _verdict(kind: str, difference: float) -> dict[str, Any]:
    return {
        "kind": kind,
        "difference": difference,
        "low": difference - 0.021,
        "high": difference + 0.021,
        "evidence": f"The macro score changed by {100 * difference:+.1f} points.",
    }


def _difference(value: float, **more: Any) -> dict[str, Any]:
    return {"difference": value, "low": value - 0.021, "high": value + 0.021, **more}


def _claims(precision: float) -> dict[str, Any]:
    return {
        "captions": 400, "budget": 12, "objects": 790, "object_precision": precision,
        "object_recall": 0.62, "chair_s": 0.3, "claims": 780, "claim_precision": precision - 0.1,
        "claim_recall": 0.5,
    }  # fmt: skip


def _warning() -> dict[str, Any]:
    return {
        "kind": "diversity-collapse", "figure": "distinct_2", "before": 0.31, "after": 0.19,
        "bound": 0.248, "message": "different word pairs fell from 31.0% to 19.0% of all",
    }  # fmt: skip


def _cost(name: str, work: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {
        "round": name, "work": work, "state": "succeeded", "images": 4000, "seconds": seconds,
        "hours": seconds / 3600, **more,
    }  # fmt: skip


def _expected() -> dict[str, Any]:
    taken = {"low": 0.1, "mid": 0.14, "high": 0.2}
    return {
        "round": "round 1", "work": "training", "certain": True, "images": taken,
        "hours": taken, "wall_hours": taken, "basis": "measured", "says": "earlier jobs",
    }  # fmt: skip


def _lineage(name: str, layers: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "name": name, "model": f"tiny-{name.replace(' ', '-')}", "sha256": "3f" * 32,
        "parent": "tiny-base", "job": "job-1",
        "reads": [
            {
                "stage": "pretrain", "dataset": "shapes@1", "sha256": "c4" * 32, "samples": 4000,
                "policy": "concat", "layers": layers,
            }
        ],
    }  # fmt: skip


def figures() -> dict[str, Any]:
    """Return the report's figures as they stand in JSON; a fresh copy at every call."""
    layer = {"captioned": 3921, "quarantined": {"repetition": 61, "too short": 18}}
    metrics = {
        name: compute([caption, "the image shows a cat", "the image shows a dog"], ["red"] * 3)
        for name, caption in CAPTIONS.items()
    }
    rounds = [
        _round(0, "baseline", "baseline", 0.61, caption_metrics=metrics["baseline"],
            claims=_claims(0.71)),
        _round(
            1, "round 1", "self", 0.70, caption_metrics=metrics["round 1"], layer=layer,
            verdict=_verdict("improved", 0.09), since_baseline=_difference(0.09),
            claims=_claims(0.83), claims_whole=_claims(0.79),
            seeds=[
                {"seed": seed, "model": f"tiny-s{seed}", "macro": 0.56 + luck}
                for seed, luck in enumerate((0.0, 0.013, -0.013))
            ],
        ),
        _round(
            2, "round 2", "self", 0.71, caption_metrics=metrics["round 2"], layer=layer,
            verdict=_verdict("no_measurable_change", 0.01), since_baseline=_difference(0.10),
            claims=_claims(0.82), warnings=[_warning()],
        ),
        _round(3, "with specialists", "specialist", 0.72, verdict=_verdict("improved", 0.03)),
        _round(
            4, "old captions, twice the steps", "control", 0.66, since_baseline=_difference(0.05),
            says="as many steps as the whole loop, no new captions",
            best_above=_difference(0.04, round="round 1"),
        ),
        _round(
            5, "shuffled captions", "control", 0.58, verdict=_verdict("worse", -0.12),
            since_baseline=_difference(-0.03), says="every image gets another's captions",
            best_above=_difference(0.12, round="round 1"),
        ),
    ]  # fmt: skip
    return {
        "run": {
            "id": "run-7f3a", "name": "Tiny shapes", "recipe": "tiny", "recipe_hash": "9a" * 32,
            "dataset": "shapes v1", "state": "saturated", "seconds": 1287.0,
            "started": "2026-03-01T09:30:00Z", "finished": "2026-03-01T09:51:27Z",
        },
        "dataset": {"samples": 4000, "shards": 4, "rejected": {"not an image": 3}},
        "benchmarks": [
            {"name": "captions", "description": "F1 of the objects that a caption states."},
            *BENCHMARKS[1:],
        ],
        "rounds": rounds,
        "specialists": [_trained("OCR", 0.8), _trained("grounding", 0.75)],
        "examples": [
            {
                "key": f"images/{index:06d}",
                "image_png_base64": png(colour=colour),
                "original": "circle stock photo",
                "captions": CAPTIONS,
            }
            for index, colour in enumerate(["#c03028", "#207048", "#d0a020"])
        ],
        "worst": [
            {
                "key": "images/000777", "image_png_base64": png(colour="#404040"),
                "original": "buy now", "captions": CAPTIONS,
            }
        ],
        "recipe_yaml": "name: tiny\nrounds:\n  maximum: 2\n",
        "sources": [
            {
                "dataset": "shapes@1", "used_for": ["recaptioned, pretrain"], "kind": "pairs",
                "samples": 4000, "licence": "CC-BY-4.0", "source": "a crawl of June",
            },
            {"dataset": "shapes-test@1", "used_for": ["benchmark"], "kind": "benchmark"},
        ],
        "costs": {
            "run": "run-7f3a", "estimate": "estimate-1",
            "lines": [
                _cost("baseline", "training", 180.0),
                _cost("round 1", "captioning", 33.0, tokens=48_000, state="sealed"),
                _cost("round 1", "training", 543.0, expected=_expected()),
            ],
            "images": 4000, "tokens": 48_000, "captioning_hours": 0.01, "gpu_hours": 0.0,
            "process_hours": 0.36, "jobs": 12, "attempts": 13,
        },
        "seed_sd": 0.011,
        "lineage": [
            _lineage("baseline", []),
            _lineage(
                "round 1",
                [
                    {
                        "layer": "layer-1", "name": "round 1", "recipe_hash": "5e" * 32,
                        "captioner": "tiny-baseline",
                    }
                ],
            ),
        ],
        "notes": ["Four thousand images, one seed."],
    }  # fmt: skip
