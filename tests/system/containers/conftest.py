"""One engine and one platform for all tests here: its images take minutes to build."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.containers.compose_platform import Driven, Platform
from tests.support.containers.docker_engine import EngineMissing, engine
from tests.support.containers.root_file_system import PackageMissing
from tests.support.containers.stand_in_images import import_all


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """`docker compose up` of the very files that an operator gets, with two caption workers."""
    folder = os.environ.get("VILA2_CONTAINERS")
    if not folder:
        # Not only where an engine is missing: nobody expects this of `make test`.
        pytest.skip("half an hour and 25 GB: VILA2_CONTAINERS names a folder to keep images in")
    try:
        with engine(Path(folder)) as made:
            import_all(made)
            held = Platform(made)
            held.compose("build")
            try:
                held.compose("up", "--detach", "--wait", "--scale", "caption-worker=2")
                yield held
            finally:
                print(held.compose("logs", "--tail", "60"))
                held.compose("down", "--volumes", "--timeout", "20")
    except (EngineMissing, PackageMissing) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def undisturbed(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Driven:
    """The small recipe's run, left alone."""
    return platform.drive(tmp_path_factory.mktemp("undisturbed"))
