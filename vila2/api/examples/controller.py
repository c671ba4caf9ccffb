"""Examples of the controller: runs, recipes, estimates and costs."""

from __future__ import annotations

from typing import Any

from vila2.api.examples.story import AT, JOB, RECIPE, RUN, SPAN

_LINE = {
    "round": "round 1",
    "work": "captioning",
    "certain": True,
    "pictures": {"low": 4000, "mid": 4000, "high": 4000},
    "hours": SPAN,
    "wall_hours": SPAN,
    "basis": "measured",
    "says": "speed of 200 sampled pictures",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "controller.RunIn": {"recipe": RECIPE, "name": "first try", "token": "first-try"},
    "controller.OverruleIn": {"kind": "worse", "reason": "captions repeat the prompt"},
    "controller.AmendIn": {
        "recipe": {**RECIPE, "rounds": {"maximum": 3, "patience": 1}},
        "reason": "one round more",
    },
    "controller.BranchIn": {"round": "round 1", "name": "second try", "token": "second-try"},
    "controller.RecipeOfRun": {
        "number": 1,
        "recipe": RECIPE,
        "recipe_hash": "b1946ac92492d234",
        "at": AT,
    },
    "controller.Comparison": {
        "ours": RUN,
        "theirs": "run-1b9d6bcd",
        "recipe": {"rounds.maximum": [2, 3]},
        "rounds": [
            {
                "round": "round 1",
                "ours": 0.52,
                "theirs": 0.55,
                "difference": 0.03,
                "low": 0.01,
                "high": 0.05,
            }
        ],
    },
    "controller.Run": {
        "id": RUN,
        "name": "first try",
        "team": "local",
        "recipe_name": "web-photos-small",
        "recipe_hash": "b1946ac92492d234",
        "state": "running",
        "phase": "baseline: training",
        "rounds": [
            {
                "name": "baseline",
                "kind": "baseline",
                "index": 1,
                "state": "training",
                "jobs": [JOB],
                "progress": {"done": 310, "total": 1000, "unit": "permille", "phase": "sft"},
            }
        ],
        "created_at": AT,
        "progress": {"done": 77, "total": 1000, "unit": "permille"},
    },
    "controller.Event": {
        "sequence": 3,
        "at": AT,
        "kind": "round.training",
        "round": "baseline",
        "message": "training",
    },
    "controller.ShippedRecipe": {
        "name": "web-photos-small",
        "description": "Two rounds on a small corpus.",
        "recipe_hash": "b1946ac92492d234",
        "yaml": "name: web-photos-small\n",
        "content": RECIPE,
    },
    "estimates.EstimateIn": {
        "recipe": RECIPE,
        "sample": 0,
        "device": "cpu",
        "price_per_hour": 0.08,
    },
    "estimates.Estimate": {
        "id": "estimate-c4ca4238a0b9",
        "created_at": AT,
        "recipe_name": "web-photos-small",
        "recipe_hash": "b1946ac92492d234",
        "unit": "process",
        "device": None,
        "price_per_hour": 0.08,
        "sampled": None,
        "lines": [_LINE],
        "total": {
            "captioned": {"low": 4000, "mid": 4000, "high": 8000},
            "tokens": {"low": 90_000, "mid": 92_000, "high": 190_000},
            "hours": SPAN,
            "wall_hours": SPAN,
        },
        "ranges": "the slowest and the fastest job of the same preset",
    },
    "estimates.Costs": {
        "run": RUN,
        "estimate": "estimate-c4ca4238a0b9",
        "lines": [
            {
                "round": "round 1",
                "work": "captioning",
                "state": "done",
                "pictures": 4000,
                "tokens": 91_724,
                "seconds": 412.5,
                "hours": 0.11,
                "expected": _LINE,
            }
        ],
        "pictures": 4000,
        "tokens": 91_724,
        "captioning_hours": 0.11,
        "gpu_hours": 0.0,
        "process_hours": 0.62,
    },
}
