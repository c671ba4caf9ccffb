from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

WIRE = REPOSITORY / "vila2" / "wire"


def test_the_wire_modules_are_what_the_proto_files_say(tmp_path: Path) -> None:
    """Generating them again changes nothing."""
    pytest.importorskip("grpc_tools")
    generate = runpy.run_path(str(REPOSITORY / "proto" / "generate.py"))["generate"]
    generate(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    held = {path.name: path.read_text() for path in WIRE.glob("*_pb2.py*")}
    assert made == held
