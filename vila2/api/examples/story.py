"""What the examples of all services are about, told once: one team, dataset, run and model."""

from __future__ import annotations

from typing import Any

AT = 1_790_000_000.0  # seconds since 1970
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
BASE, MODEL = "tiny-base-5e1b2c9a-77d0", "tiny-9f86d081-3c1a"
LAYER, RUN, JOB = "layer-4be0643f1d98", "run-7c9e6679", "job-16fd2706a1b2"
PROMPT = "Describe the image in detail."
CAPTION = "A red fox stands on a snowy path between birches."
DONE = {"done": 4000, "total": 4000, "unit": "samples", "phase": "done", "eta_seconds": 0.0}
STAGE = {"steps": 300, "batch_size": 64, "lr": 0.002, "trainable": ["projector", "language"]}
SPAN = {"low": 0.8, "mid": 1.0, "high": 1.4}

RECIPE: dict[str, Any] = {
    "name": "web-photos-small",
    "description": "Two rounds on a small corpus.",
    "model": {
        "preset": "tiny",
        "base": {
            "dataset": "web-base",
            "stage": {**STAGE, "trainable": ["vision", "projector", "language"]},
        },
    },
    "data": {"pretrain": "web-photos", "sft": "web-sft"},
    "stages": {
        "align": {**STAGE, "steps": 40, "trainable": ["projector"]},
        "pretrain": STAGE,
        "sft": STAGE,
    },
    "baseline": {"policy": "original"},
    "recaption": {
        "policy": "concat",
        "caption_layer": "self",
        "caption_question": PROMPT,
        "missing": "original",
    },
    "captioning": {"prompts": [PROMPT]},
    "benchmarks": ["shapes-vqa"],
    "rounds": {"maximum": 2, "patience": 1},
}
