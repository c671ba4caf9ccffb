"""Runs schemathesis over the services of one embedded platform and counts what it did.

    python -m tests.schemathesis_run --max-examples 500

prints a table: operations, cases, failures of each service, and every failure with the request.
The services are the real ones; a quota of no hours keeps the jobs that it submits from running.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import schemathesis
from fastapi import FastAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from services.standalone.app import Standalone
from tests.standalone import pictures, submitted
from vila2.api.training import QuotaIn
from vila2.client import SERVICES

PHASES = ("examples", "coverage", "fuzzing", "stateful")


@dataclass
class Outcome:
    """What a run over one service did."""

    operations: set[str] = field(default_factory=set)
    cases: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


@contextmanager
def fuzzed_platform(workspace: Path) -> Iterator[Standalone]:
    """A platform that holds a dataset and starts no job, whatever is submitted."""
    with Standalone(workspace / "platform") as platform:
        nothing = QuotaIn(gpu_hours=0.0, process_hours=0.0)
        platform.client.training.set_quota("local", nothing)
        submitted(platform.client, pictures(workspace / "foxes"), name="web-photos")
        yield platform


def fuzz(platform: Standalone, service: str, *, max_examples: int, seed: int = 1) -> Outcome:
    """Run all phases over a service."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"authorization": f"Bearer {platform.key}"},
            "generation": {"max-examples": max_examples, "database": "none"},
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
            told = f"{failure.message}\n{check.failure_info.code_sample}"
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
        print(f"service | operations | {' | '.join(PHASES)} | failures")
        for service in given.service or SERVICES:
            found = fuzz(platform, service, max_examples=given.max_examples, seed=given.seed)
            counts = " | ".join(str(found.cases[phase]) for phase in PHASES)
            print(f"{service} | {len(found.operations)} | {counts} | {len(found.failures)}")
            for name, told in found.failures.items():
                print(f"\n{name}\n{told}\n")
            for error in found.errors:
                print(f"\nerror: {error}")
            failed = failed or bool(found.failures or found.errors)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
