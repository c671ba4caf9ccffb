"""An example of every request body and of the main replies, told as one story.

A team submits the dataset `web-photos`, starts a run of a small recipe, and promotes what comes
out. `Model` puts each into its JSON schema, so the OpenAPI documents show them; a test holds every
one against its model. Keys are SERVICE.MODEL, after the file that defines it.
"""

from __future__ import annotations

from typing import Any

_AT = 1_790_000_000.0  # seconds since 1970
_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_BASE, _MODEL = "tiny-base-5e1b2c9a-77d0", "tiny-9f86d081-3c1a"
_LAYER, _RUN, _JOB = "layer-4be0643f1d98", "run-7c9e6679", "job-16fd2706a1b2"
_PROMPT = "Describe the image in detail."
_CAPTION = "A red fox stands on a snowy path between birches."
_DONE = {"done": 4000, "total": 4000, "unit": "samples", "phase": "done", "eta_seconds": 0.0}
_STAGE = {"steps": 300, "batch_size": 64, "lr": 0.002, "trainable": ["projector", "language"]}
_SPAN = {"low": 0.8, "mid": 1.0, "high": 1.4}

RECIPE: dict[str, Any] = {
    "name": "web-photos-small",
    "description": "Two rounds on a small corpus.",
    "model": {
        "preset": "tiny",
        "base": {
            "dataset": "web-base",
            "stage": {**_STAGE, "trainable": ["vision", "projector", "language"]},
        },
    },
    "data": {"pretrain": "web-photos", "sft": "web-sft"},
    "stages": {
        "align": {**_STAGE, "steps": 40, "trainable": ["projector"]},
        "pretrain": _STAGE,
        "sft": _STAGE,
    },
    "baseline": {"policy": "original"},
    "recaption": {
        "policy": "concat",
        "caption_layer": "self",
        "caption_question": _PROMPT,
        "missing": "original",
    },
    "captioning": {"prompts": [_PROMPT]},
    "benchmarks": ["shapes-vqa"],
    "rounds": {"maximum": 2, "patience": 1},
}

_LIMITS = {"requests_per_minute": 600, "images_per_day": 1_000_000, "storage_bytes": None}
_LIMITS_SET = {**_LIMITS, "set_by": "5d41402a", "set_at": _AT}
_KEY = {
    "prefix": "a87ff679",
    "team": "photos",
    "user": "mira@example.org",
    "name": "nightly submissions",
    "scopes": ["datasets:read", "datasets:write"],
    "state": "active",
    "created_at": _AT,
    "created_by": "5d41402a",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": _AT,
}
_STAGE_IN = {"name": "sft", **_STAGE, "sources": [{"dataset": "web-sft", "assembly": {}}]}
_LAYER_JOB = {
    "id": "captions-0a1b2c3d4e5f",
    "layer": _LAYER,
    "name": "round 1",
    "dataset": "web-photos",
    "version": 1,
    "model": _MODEL,
    "state": "sealed",
    "captioned": 3988,
    "quarantined": {"repetition": 12},
    "tokens": 91_724,
    "seconds": 412.5,
    "progress": _DONE,
}
_DEPLOYMENT = {
    "id": "deployment-2f1e0d9c8b7a",
    "endpoint": "captioner",
    "model": _MODEL,
    "state": "active",
    "golden": {"items": 16, "same": 16, "drift": 0.0002},
}
_PREVIEW = {
    "captions": [
        {
            "key": "p0",
            "caption": _CAPTION,
            "status": "ok",
            "reason": "",
            "prompt": _PROMPT,
            "attempt": 0,
            "tokens": 12,
            "logprob": -0.41,
        }
    ]
}
_EXPORT = {"dataset": "web-photos", "version": 1, "layer": _LAYER, "format": "webdataset",
           "text": "concat"}  # fmt: skip
_LAYER_SHARD = {
    "object_key": f"layers/{_LAYER}/00000-1.parquet",
    "sha256": _DIGEST,
    "captioned": 1994,
    "quarantined": {"repetition": 6},
}
_REGISTERED = {
    "name": _MODEL,
    "sha256": _DIGEST,
    "parent": _BASE,
    "job": _JOB,
    "object_prefix": f"models/{_MODEL}",
    "parameters": 1_204_736,
    "data": ["web-photos@1", "web-sft@1"],
    "stage": "candidate",
    "created_at": _AT,
}
_QUOTA = {"gpu_hours": 500.0, "process_hours": None, "window": "month", "max_jobs": 4, "share": 2.0}
_LINE = {
    "round": "round 1",
    "work": "captioning",
    "certain": True,
    "pictures": {"low": 4000, "mid": 4000, "high": 4000},
    "hours": _SPAN,
    "wall_hours": _SPAN,
    "basis": "measured",
    "says": "speed of 200 sampled pictures",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    # ------------------------------------------------------------------------------- datasets
    "datasets.DatasetIn": {"name": "web-photos", "kind": "pairs"},
    "datasets.Dataset": {"name": "web-photos", "kind": "pairs", "team": "local", "latest": 1},
    "datasets.LatestIn": {"version": 1, "reason": "version 2 lacks captions"},
    "datasets.VersionIn": {
        "source": "crawl of June",
        "licence": "CC-BY-4.0",
        "token": "web-photos-june",
        "shard_samples": 2000,
        "format": "folder",
    },
    "datasets.Upload": {"file": "photos/p0.jpg", "number": 0, "sha256": _DIGEST, "bytes": 48_213},
    "datasets.Version": {
        "dataset": "web-photos",
        "version": 1,
        "kind": "pairs",
        "state": "ready",
        "source": "crawl of June",
        "licence": "CC-BY-4.0",
        "parts": [0, 1],
        "shards": 2,
        "samples": 4000,
        "bytes": 193_331_200,
        "rejected": {"too-small": 7},
        "sha256": _DIGEST,
        "progress": _DONE,
    },
    "datasets.Shard": {
        "index": 0,
        "object_key": "shards/9f86d081884c7d65.tar",
        "index_key": "shards/9f86d081884c7d65.index.parquet",
        "sha256": _DIGEST,
        "bytes": 96_665_600,
        "samples": 2000,
    },
    "datasets.RejectedExample": {
        "key": "p17",
        "source": "photos/p17.jpg",
        "reason": "too-small",
        "detail": "8x8 pixels",
    },
    "datasets.LayerIn": {
        "name": "round 1",
        "dataset": "web-photos",
        "version": 1,
        "recipe_hash": "b1946ac92492d234",
        "captioner": _MODEL,
        "token": "round-1",
    },
    "datasets.LayerShardIn": _LAYER_SHARD,
    "datasets.LayerShard": {**_LAYER_SHARD, "number": 0},
    "datasets.Layer": {
        "id": _LAYER,
        "name": "round 1",
        "dataset": "web-photos",
        "version": 1,
        "recipe_hash": "b1946ac92492d234",
        "captioner": _MODEL,
        "state": "sealed",
        "captioned": 3988,
        "quarantined": {"repetition": 12},
        "shards": 2,
        "recorded": 2,
    },
    "datasets.LayerImport": {
        "name": "captions of the web",
        "dataset": "web-photos",
        "from_dataset": "web-photos-recaptioned",
    },
    "datasets.ReasonIn": {"reason": "the captioner saw the wrong pictures"},
    "datasets.LayerDiff": {
        "shards": 2,
        "next": None,
        "same": 310,
        "changed": 3678,
        "words_before": 39_880,
        "words_after": 71_784,
        "examples": [{"key": "p0", "before": "a fox", "after": _CAPTION}],
    },
    "datasets.AuditIn": {"benchmarks": ["shapes-vqa"], "max_distance": 7},
    "datasets.Audit": {
        "dataset": "web-photos",
        "version": 1,
        "state": "done",
        "max_distance": 7,
        "samples": 4000,
        "clusters": 21,
        "near_duplicates": 34,
        "examples": [{"key": "p3", "other": "p9", "distance": 2}],
        "contamination": [{"benchmark": "shapes-vqa", "pictures": 1, "exact": 1, "near": 0}],
        "progress": _DONE,
    },
    "datasets.TakedownIn": {
        "dataset": "web-photos",
        "key": "p0",
        "reason": "request of the rights holder",
        "requested_by": "rights@example.org",
    },
    "datasets.Takedown": {
        "id": "takedown-5d41402abc4b",
        "sha256": _DIGEST,
        "reason": "request of the rights holder",
        "requested_by": "rights@example.org",
        "state": "done",
        "samples": 1,
        "captions": 2,
        "versions": ["web-photos@1"],
        "layers": [_LAYER],
        "created_at": _AT,
        "progress": {"done": 2, "total": 2, "unit": "shards"},
    },
    "datasets.ExportIn": _EXPORT,
    "datasets.Export": {
        **_EXPORT,
        "id": "export-7d793037a076",
        "by_key": "1f0e3dad",
        "created_at": _AT,
    },
    "datasets.Lineage": {
        "dataset": "web-photos",
        "version": 1,
        "key": "p0",
        "sha256": _DIGEST,
        "width": 640,
        "height": 480,
        "source": "photos/p0.jpg",
        "caption": "a fox",
        "shard": 0,
        "offset": 1536,
        "captions": [],
        "models": [_MODEL],
    },
    "datasets.HistoryEntry": {
        "action": "version-in-use",
        "subject": "web-photos: 2 -> 1",
        "detail": "version 2 lacks captions",
        "by_key": "1f0e3dad",
        "at": _AT,
    },
    # -------------------------------------------------------------------------------- caption
    "caption.LayerJobIn": {
        "name": "round 1",
        "dataset": "web-photos",
        "model": _MODEL,
        "prompts": [_PROMPT],
        "token": "round-1",
    },
    "caption.LayerJob": _LAYER_JOB,
    "caption.Failures": {
        "shards": [{"shard": 1, "attempts": 4, "error": "the shard does not open"}],
        "samples": [
            {
                "key": "p8",
                "shard": 0,
                "reason": "repetition",
                "attempts": 3,
                "prompt": _PROMPT,
                "text": "a fox a fox a fox",
            }
        ],
        "next": None,
    },
    "caption.CaptionsIn": {
        "model": _MODEL,
        "images": ["data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="],
        "prompts": [_PROMPT],
    },
    "caption.PreviewIn": {
        "dataset": "web-photos",
        "keys": ["p0"],
        "model": _MODEL,
        "prompts": [_PROMPT],
    },
    "caption.Preview": _PREVIEW,
    "caption.DeploymentIn": {"model": _MODEL, "golden": True},
    "caption.Deployment": _DEPLOYMENT,
    "caption.Endpoint": {"name": "captioner", "model": _MODEL, "deployments": [_DEPLOYMENT]},
    "openai.ChatIn": {
        "model": "captioner",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is in the picture?"},
                    {
                        "type": "image_url",
                        "image_url": {
                            "url": "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
                        },
                    },
                ],
            }
        ],
        "max_tokens": 48,
    },
    "openai.ChatCompletion": {
        "id": "chatcmpl-0cc175b9c0f1b6a831c399e2",
        "created": int(_AT),
        "model": "captioner",
        "choices": [{"message": {"content": _CAPTION}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 74, "completion_tokens": 12, "total_tokens": 86},
    },
    "openai.ServedModels": {"data": [{"id": "captioner", "owned_by": "local"}]},
    # ----------------------------------------------------------------------------- specialist
    "specialist.SpecialistIn": {
        "token": "round-2:ocr",
        "specialist": "ocr",
        "name": "web-photos ocr",
        "parent": _MODEL,
        "stage": _STAGE_IN,
        "dataset": "web-photos@1",
        "prompts": ["Read the text in the image."],
    },
    "specialist.Specialist": {
        "id": "specialist-92eb5ffee6ae",
        "specialist": "ocr",
        "name": "web-photos ocr",
        "state": "training",
        "job": _JOB,
        "progress": {"done": 310, "total": 1000, "unit": "permille", "phase": "sft"},
    },
    # ------------------------------------------------------------------------------- training
    "training.JobIn": {
        "name": "baseline",
        "token": "web-photos:baseline",
        "run": _RUN,
        "train": {"init": "base", "preset": "tiny", "model": _BASE, "stages": [_STAGE_IN]},
    },
    "training.Job": {
        "id": _JOB,
        "name": "baseline",
        "kind": "train",
        "state": "succeeded",
        "attempt": 1,
        "run": _RUN,
        "model": _MODEL,
        "result": {"loss": 1.92},
        "seconds": 184.2,
        "created_at": _AT,
        "progress": {"done": 1000, "total": 1000, "unit": "permille", "phase": "done"},
    },
    "training.LogPart": {
        "text": "step 300 loss 1.92\n",
        "offset": 8120,
        "next": 8139,
        "size": 8139,
        "ended": True,
    },
    "training.File": {"name": "outcomes.jsonl", "bytes": 20_480, "sha256": _DIGEST},
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
        "run": _RUN,
        "gpu_hours": 41.5,
        "process_hours": 0.0,
        "jobs": 9,
        "attempts": 11,
    },
    "training.RegisteredModel": _REGISTERED,
    "training.ModelDetails": {
        **_REGISTERED,
        "files": [{"name": "model.safetensors", "bytes": 4_818_944, "sha256": _DIGEST}],
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
    "training.Imported": {"id": "import-8fa14cdd754f", "model": _MODEL, "scores": 1, "outcomes": 0},
    "training.PromotionIn": {
        "stage": "staging",
        "line": "default",
        "require": [{"benchmark": "shapes-vqa", "minimum": 0.5, "bound": "low"}],
        "note": "best of two rounds",
    },
    "training.StageChange": {
        "id": "change-4a8a08f09d37",
        "model": _MODEL,
        "line": "default",
        "action": "promote",
        "before": "candidate",
        "after": "staging",
        "state": "done",
        "by": "1f0e3dad",
        "at": _AT,
    },
    "training.ReasonIn": {"reason": "it reads numbers worse"},
    "training.Serving": {"endpoints": ["captioner"], "standby": []},
    # ----------------------------------------------------------------------------- controller
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
        "at": _AT,
    },
    "controller.Comparison": {
        "ours": _RUN,
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
        "id": _RUN,
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
                "jobs": [_JOB],
                "progress": {"done": 310, "total": 1000, "unit": "permille", "phase": "sft"},
            }
        ],
        "created_at": _AT,
        "progress": {"done": 77, "total": 1000, "unit": "permille"},
    },
    "controller.Event": {
        "sequence": 3,
        "at": _AT,
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
        "created_at": _AT,
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
            "hours": _SPAN,
            "wall_hours": _SPAN,
        },
        "ranges": "the slowest and the fastest job of the same preset",
    },
    "estimates.Costs": {
        "run": _RUN,
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
    "identity.TeamIn": {"name": "photos"},
    "identity.LimitsIn": _LIMITS,
    "identity.Limits": _LIMITS_SET,
    "identity.MemberIn": {"role": "member"},
    "identity.Member": {"user": "mira@example.org", "role": "member"},
    "identity.Team": {
        "name": "photos",
        "created_at": _AT,
        "members": [{"user": "mira@example.org", "role": "member"}],
        "keys": 1,
        "limits": _LIMITS_SET,
    },
    "identity.User": {
        "name": "mira@example.org",
        "created_at": _AT,
        "roles": {"photos": "member"},
    },
    "identity.KeyIn": {"name": "nightly submissions", "role": "member", "expires_in_days": 90},
    "identity.RotateIn": {"overlap_hours": 24},
    "identity.Key": _KEY,
    "identity.NewKey": {**_KEY, "key": "a87ff679.SECRET"},
    "identity.Caller": {
        "key": "a87ff679",
        "team": "photos",
        "user": "mira@example.org",
        "scopes": ["datasets:read", "datasets:write"],
    },
    "identity.AuditPage": {
        "entries": [
            {
                "id": 42,
                "at": _AT,
                "service": "datasets",
                "method": "POST",
                "route": "/v1/datasets",
                "path": "/v1/datasets",
                "status": 201,
                "key": "a87ff679",
                "user": "mira@example.org",
                "team": "photos",
                "request_id": "8f14e45fceea467a9c1d0f2b6a7d3e55",
            }
        ],
        "next": None,
    },
    "caption.ImageQuota": {
        "team": "photos",
        "images_per_day": 1_000_000,
        "images_today": 4000,
        "resets_at": _AT,
    },
    "datasets.StorageQuota": {
        "team": "photos",
        "storage_bytes": None,
        "storage_bytes_used": 1_204_112,
    },
}
