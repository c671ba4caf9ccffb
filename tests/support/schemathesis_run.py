"""Runs schemathesis over the services of one embedded platform and counts what it did.

    python -m tests.support.schemathesis_run --max-examples 500

prints a table: operations, cases, failures of each service, and every failure with the request.
The services are the real ones; a quota of no hours keeps the jobs that it submits from running.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from fastapi import FastAPI
from schemathesis import Case, HookContext
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from services.chassis.web.idempotency import HEADER, PATTERN
from services.chassis.web.paging import LONGEST as LONGEST_CURSOR
from services.platform.embedded import EmbeddedPlatform
from tests.support.embedded_platform import images, submitted
from vila2.client import SERVICES
from vila2.schemas.rest.training import QuotaIn

PHASES = ("examples", "coverage", "fuzzing", "stateful")

# What else than a reply to valid data may be: the made request names things that are not there.
ACCEPTED = ["2xx", "401", "403", "404", "409", "422", "429", "503"]
# What a reply to data that the schema forbids may be: it may be too large before it is read.
REFUSED = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "429"]
_RECIPE = "a recipe's parts must fit together, and its datasets be there"
_GATE = "a gate that no caption can pass is refused"
# Operations that may refuse, with 422, what their JSON schema allows, and why.
BEYOND_THE_SCHEMA = {
    "add_model": "exactly one of files, objects and endpoint; files that make a model",
    "amend_recipe": _RECIPE,
    "branch_run": _RECIPE,
    "make_estimate": _RECIPE,
    "start_run": _RECIPE,
    "caption_images": "what is sent must be an image, and the gate let some caption pass",
    "preview_captions": _GATE,
    "estimate_captions": _GATE,
    "start_job": _GATE,
    "start_specialist": _GATE,
    "create_key": "one of role, scopes and service; scopes that exist",
    "complete_chat": "one message with an image and a question",
    "put_piece": "a file's name must be a plain relative path",
    "put_part": "the body must be a tar",
    "import_captions": "the body must be Parquet whose keys name samples of the version",
    "create_version": "an origin must be one that the operator configured",
    "import_scores": "the ends of an interval belong together, and are not beyond each other",
    "put_layer_shard": "captioned and quarantined must add up to the shard's samples",
    "put_layer_shards": "captioned and quarantined must add up to each shard's samples",
    "submit_job": "exactly one of train and evaluate, and what they ask for must fit together",
    "start_takedown": "an image is named by its digest, or by dataset and key together",
}


@dataclass
class Outcome:
    """What a run over one service did."""

    operations: set[str] = field(default_factory=set)
    cases: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


@contextmanager
def fuzzed_platform(workspace: Path) -> Iterator[EmbeddedPlatform]:
    """A platform with the examples' datasets; it starts no job, whatever is submitted."""
    with EmbeddedPlatform(workspace / "platform") as platform:
        nothing = QuotaIn(gpu_hours=0.0, process_hours=0.0)
        platform.client.training.set_quota("local", nothing)
        for name in ("web-photos", "web-base", "web-sft", "shapes-vqa"):
            submitted(platform.client, images(workspace / "foxes"), name=name)
        yield platform


def fuzz(platform: EmbeddedPlatform, service: str, *, max_examples: int, seed: int = 1) -> Outcome:
    """Run all phases over a service."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "workers": 1,
            "request-timeout": 120,  # the first estimate loads torch
            "auth": {"openapi": {"apiKey": {"bearer": platform.key}}},
            "generation": {"max-examples": max_examples, "database": "none"},
            "output": {"sanitization": {"enabled": False}},
            # The framework's 405 names the methods of the first route of a path alone.
            "checks": {
                "allow_header_conformance": {"enabled": False},
                "negative_data_rejection": {"expected-statuses": REFUSED},
            },
            "phases": {
                "coverage": {"unexpected-methods": ["OPTIONS", "TRACE"]},
                "stateful": {
                    "max-steps": 4,
                    "generation": {"max-examples": max(2, max_examples // 3)},
                },
            },
            "operations": [
                {
                    "include-operation-id": operation,
                    "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
                }
                for operation in BEYOND_THE_SCHEMA
            ],
        }
    )
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", _without_lifespan(platform.apps[service]), config=config
    )
    outcome = Outcome()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            outcome.errors.append(f"{event.label}: {event.info.format()}")
        if isinstance(event, events.ScenarioFinished):
            _count(outcome, event)
    return outcome


def broken(platform: EmbeddedPlatform) -> set[str]:
    """What went wrong inside, such as in a loop that carries on what was asked for."""
    lines = (platform.workspace / "log.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    return {
        f"{entry['event']} ({entry.get('loop') or entry.get('path')}): "
        f"{entry.get('exception', '')[-300:]}"
        for entry in logged
        if entry["event"] in ("loop tick failed", "request broke")
    }


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: Any) -> None:
    """Mend what is right by the schema and cannot be right for a request that is made up.

    Made requests often share an idempotency key, such as "0", and are then refused as they should
    be: each gets a key of its own. A cursor that no list has given is refused by all: it is left
    out. Keys and cursors that the schema forbids stay as they are.
    """
    key = (case.headers or {}).get(HEADER)
    if key is not None and re.fullmatch(PATTERN, str(key)):
        case.headers[HEADER] = uuid.uuid4().hex
    cursor = (case.query or {}).get("cursor")
    if isinstance(cursor, str) and len(cursor) <= LONGEST_CURSOR:
        del case.query["cursor"]


@schemathesis.serializer("application/x-tar", "application/vnd.apache.parquet")
def as_they_are(context: Any, value: Any) -> Any:
    """Bytes as they are."""
    return value if isinstance(value, bytes) else str(value).encode()


def _count(outcome: Outcome, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for identity, checks in recorder.checks.items():
        case = recorder.cases[identity].value
        outcome.operations.add(case.operation.label)
        for check in checks:
            if check.failure_info is None:
                continue
            failure = check.failure_info.failure
            name = f"{case.operation.label}: {check.name}: {failure.title}"
            answer = recorder.interactions[identity].response
            said = answer.content[:600] if answer is not None else b""
            told = f"{failure.message}\n{check.failure_info.code_sample[:600]}\n{said!r}"
            outcome.failures.setdefault(name, told)
    outcome.cases[event.phase.value] += len(recorder.interactions)


def _without_lifespan(app: FastAPI) -> Any:
    """The platform has started the app already."""

    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await app(scope, receive, send)

    return served


def main() -> int:
    """Fuzz all services and print the table; returns 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-examples", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--service", action="append", choices=SERVICES)
    given = parser.parse_args()
    failed = False
    with (
        tempfile.TemporaryDirectory() as folder,
        fuzzed_platform(Path(folder)) as platform,
    ):
        print(f"service | operations | {' | '.join(PHASES)} | failures | CPU s")
        for service in given.service or SERVICES:
            began = time.process_time()
            found = fuzz(platform, service, max_examples=given.max_examples, seed=given.seed)
            spent = time.process_time() - began
            counts = " | ".join(str(found.cases[phase]) for phase in PHASES)
            print(
                f"{service} | {len(found.operations)} | {counts} | {len(found.failures)}"
                f" | {spent:.0f}"
            )
            for name, told in found.failures.items():
                print(f"\n{name}\n{told}\n")
            for error in found.errors:
                print(f"\nerror: {error}")
            failed = failed or bool(found.failures or found.errors)
        for entry in broken(platform):
            print(f"\n{entry}")
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
