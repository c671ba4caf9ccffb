"""Examples of the caption service, its OpenAI endpoint and the specialist service."""

from __future__ import annotations

from typing import Any

from vila2.api.examples.story import AT, CAPTION, DIGEST, DONE, JOB, LAYER, MODEL, PROMPT, STAGE

_STAGE_IN = {
    "name": "sft",
    **STAGE,
    "sources": [{"dataset": "web-sft", "assembly": {"policy": "conversations"}}],
}
_LAYER_JOB = {
    "id": "captions-0a1b2c3d4e5f",
    "layer": LAYER,
    "name": "round 1",
    "dataset": "web-photos",
    "version": 1,
    "model": MODEL,
    "state": "sealed",
    "captioned": 3988,
    "quarantined": {"repetition": 12},
    "tokens": 91_724,
    "seconds": 412.5,
    "progress": DONE,
}
_REQUIREMENT = {"benchmark": "shapes-vqa", "minimum": 0.5, "bound": "low"}
_DEPLOYMENT = {
    "id": "deployment-2f1e0d9c8b7a",
    "endpoint": "captioner",
    "model": MODEL,
    "state": "active",
    "by": "1f0e3dad",
    "note": "best of two rounds",
    "at": AT,
    "require": [_REQUIREMENT],
    "digest": DIGEST,
    "evaluations": [
        {
            "model": MODEL,
            "benchmark": "shapes-vqa",
            "version": "shapes-vqa@1",
            "value": 0.58,
            "low": 0.54,
            "high": 0.62,
            "items": 600,
            "job": JOB,
            "at": AT,
        }
    ],
    "golden": {"items": 16, "same": 16, "drift": 0.0002},
}
_PREVIEW = {
    "captions": [
        {
            "key": "p0",
            "caption": CAPTION,
            "status": "ok",
            "reason": "",
            "prompt": PROMPT,
            "attempt": 0,
            "tokens": 12,
            "logprob": -0.41,
        }
    ]
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "caption.LayerJobIn": {
        "name": "round 1",
        "dataset": "web-photos",
        "model": MODEL,
        "prompts": [PROMPT],
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
                "prompt": PROMPT,
                "text": "a fox a fox a fox",
            }
        ],
        "next": None,
    },
    "caption.CaptionsIn": {
        "model": MODEL,
        "images": ["data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="],
        "prompts": [PROMPT],
    },
    "caption.PreviewIn": {
        "dataset": "web-photos",
        "keys": ["p0"],
        "model": MODEL,
        "prompts": [PROMPT],
    },
    "caption.Preview": _PREVIEW,
    "caption.DeploymentIn": {
        "model": MODEL,
        "golden": True,
        "require": [_REQUIREMENT],
        "note": "best of two rounds",
    },
    "caption.Deployment": _DEPLOYMENT,
    "caption.Endpoint": {"name": "captioner", "model": MODEL, "deployments": [_DEPLOYMENT]},
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
        "created": int(AT),
        "model": "captioner",
        "choices": [{"message": {"content": CAPTION}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 74, "completion_tokens": 12, "total_tokens": 86},
    },
    "openai.ServedModels": {"data": [{"id": "captioner", "owned_by": "local"}]},
    "specialist.SpecialistIn": {
        "token": "round-2:ocr",
        "specialist": "ocr",
        "name": "web-photos ocr",
        "parent": MODEL,
        "stage": _STAGE_IN,
        "dataset": "web-photos@1",
        "prompts": ["Read the text in the image."],
    },
    "specialist.Specialist": {
        "id": "specialist-92eb5ffee6ae",
        "specialist": "ocr",
        "name": "web-photos ocr",
        "state": "training",
        "job": JOB,
        "progress": {"done": 310, "total": 1000, "unit": "permille", "phase": "sft"},
    },
    "caption.ImageQuota": {
        "team": "photos",
        "images_per_day": 1_000_000,
        "images_today": 4000,
        "resets_at": AT,
    },
}
