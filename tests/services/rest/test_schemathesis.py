"""schemathesis against every service: what is sent, valid or not, is answered as documented.

All checks are on, in the phases examples, coverage, fuzzing and stateful. Here a few examples are
made of each operation; for a long run, with a table of what was done:

    python -m tests.support.schemathesis_run --max-examples 500
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.schemathesis_run import broken, fuzz, fuzzed_platform
from vila2.client import SERVICES

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPlatform]:
    with fuzzed_platform(tmp_path_factory.mktemp("fuzzed")) as platform:
        yield platform


@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_as_documented(fuzzed: EmbeddedPlatform, service: str) -> None:
    documented = fuzzed.apps[service].openapi()["paths"]
    found = fuzz(fuzzed, service, max_examples=2)
    assert not found.failures, "\n\n".join(f"{k}\n{v}" for k, v in found.failures.items())
    assert not found.errors
    assert len(found.operations) == sum(len(methods) for methods in documented.values())
    assert not broken(fuzzed)
