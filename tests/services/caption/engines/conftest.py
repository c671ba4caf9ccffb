"""Engines that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.caption.engines.embedded import EmbeddedEngines
from services.caption.engines.endpoint.engines import EndpointEngines
from services.caption.engines.transformers_generate import TransformersEngines
from tests.support.caption_engines import (
    TritonServing,
    embedded_engines,
    endpoint_engines,
    transformers_engines,
)


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServing]:
    made = TritonServing(tmp_path_factory.mktemp("triton"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedEngines:
    return embedded_engines(tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="module")
def with_transformers(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngines:
    return transformers_engines(tmp_path_factory.mktemp("transformers"))


@pytest.fixture(scope="module")
def at_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointEngines]:
    with endpoint_engines(tmp_path_factory.mktemp("endpoint")) as engines:
        yield engines
