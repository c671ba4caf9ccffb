"""Regenerate `vila2/wire` from the .proto files: `make wire`.

The generated modules are checked in, so that installing the package needs no compiler; a test
runs this program into a temporary folder and compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

PROTO = Path(__file__).parent
GENERATED = ("queue", "events", "manifests")


def generate(out: Path) -> None:
    """Write `<name>_pb2.py` and `<name>_pb2.pyi` for each file of `GENERATED` into `out`."""
    import shutil
    import tempfile

    from grpc_tools import protoc

    plugin = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent))
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            "protoc",
            f"-I{PROTO}",
            f"--python_out={scratch}",
            f"--plugin=protoc-gen-mypy={plugin}",
            f"--mypy_out={scratch}",
            *[str(PROTO / "vila2" / "v1" / f"{name}.proto") for name in GENERATED],
        ]
        if protoc.main(command) != 0:
            raise SystemExit("protoc failed: see its message above")
        out.mkdir(parents=True, exist_ok=True)
        for made in sorted(Path(scratch, "vila2", "v1").iterdir()):
            shutil.copy(made, out / made.name)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTO.parent / "vila2" / "wire")
