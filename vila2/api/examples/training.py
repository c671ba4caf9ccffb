"""Examples of the training service."""

from __future__ import annotations

from typing import Any

from vila2.api.examples.story import AT, BASE, DIGEST, JOB, MODEL, RUN, STAGE

_STAGE_IN = {
    "name": "sft",
    **STAGE,
    "sources": [{"dataset": "web-sft", "assembly": {"policy": "conversations"}}],
}
_REGISTERED = {
    "name": MODEL,
    "sha256": DIGEST,
    "parent": BASE,
    "job": JOB,
    "object_prefix": f"models/{MODEL}",
    "parameters": 1_204_736,
    "data": ["web-photos@1", "web-sft@1"],
    "created_at": AT,
}
_QUOTA = {"gpu_hours": 500.0, "process_hours": None, "window": "month", "max_jobs": 4, "share": 2.0}

EXAMPLES: dict[str, dict[str, Any]] = {
    "training.JobIn": {
        "name": "baseline",
        "token": "web-photos:baseline",
        "run": RUN,
        "train": {"init": "base", "preset": "tiny", "model": BASE, "stages": [_STAGE_IN]},
    },
    "training.Job": {
        "id": JOB,
        "name": "baseline",
        "kind": "train",
        "state": "succeeded",
        "attempt": 1,
        "run": RUN,
        "model": MODEL,
        "result": {"loss": 1.92},
        "seconds": 184.2,
        "created_at": AT,
        "progress": {"done": 1000, "total": 1000, "unit": "permille", "phase": "done"},
    },
    "training.LogPart": {
        "text": "step 300 loss 1.92\n",
        "offset": 8120,
        "next": 8139,
        "size": 8139,
        "ended": True,
    },
    "training.File": {"name": "outcomes.jsonl", "bytes": 20_480, "sha256": DIGEST},
    "training.QuotaIn": _QUOTA,
    "training.Quota": {
        **_QUOTA,
        "team": "vision",
        "gpu_hours_used": 41.5,
        "running": 2,
        "set_by": "1f0e3dad",
    },
    "training.Usage": {
        "team": "vision",
        "run": RUN,
        "gpu_hours": 41.5,
        "process_hours": 0.0,
        "jobs": 9,
        "attempts": 11,
    },
    "training.RegisteredModel": _REGISTERED,
    "training.ModelDetails": {
        **_REGISTERED,
        "files": [{"name": "model.safetensors", "bytes": 4_818_944, "sha256": DIGEST}],
    },
    "training.ImportIn": {
        "source": "lmms-eval",
        "scores": [
            {
                "benchmark": "mme",
                "version": "1.0",
                "metric": "accuracy",
                "value": 0.61,
                "items": 2374,
            }
        ],
        "about": {"date": "2026-06-01"},
    },
    "training.Imported": {"id": "import-8fa14cdd754f", "model": MODEL, "scores": 1, "outcomes": 0},
    "training.Serving": {"endpoints": ["captioner"], "standby": []},
}
