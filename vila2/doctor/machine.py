"""This machine: interpreter, packages, torch, the workspace folder and the keys in it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.utils import canonicalize_name

from vila2.doctor import judging
from vila2.doctor.finding import Finding, attempted, ok, warning

DISTRIBUTION = "vila2"
# Files of a workspace that hold secrets.
SECRETS = ("key", "service-key", "pepper", "keys.json", "keys.json.taken-over")


def findings(workspace: Path) -> list[Finding]:
    """All findings about this machine; the workspace need not exist yet."""
    return [
        judging.python((sys.version_info.major, sys.version_info.minor, sys.version_info.micro)),
        *_packages(),
        judging.torch(*_torch(), _gpus()),
        *_workspace(workspace),
    ]


def our_version() -> str:
    """The installed version of this software."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _packages() -> list[Finding]:
    try:
        required = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return [warning("packages", "vila2 runs from a folder and is not installed",
                        fix="`pip install -e .`, or run `make setup`")]  # fmt: skip
    installed = {
        str(canonicalize_name(found.metadata["Name"])): found.version
        for found in importlib.metadata.distributions()
        if found.metadata["Name"]
    }
    return judging.packages(required, installed)


def _torch() -> tuple[str | None, str | None]:
    """Build and CUDA version of torch, read from its files: importing it takes seconds."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None, None
    text = (Path(spec.origin).parent / "version.py").read_text()
    cuda = re.search(r"^cuda\b[^=]*= *['\"]([^'\"]+)", text, re.MULTILINE)
    return importlib.metadata.version("torch"), cuda.group(1) if cuda else None


def _gpus() -> int:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        told = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in told.stdout.splitlines())


def _workspace(workspace: Path) -> list[Finding]:
    check = f"workspace {workspace}"
    if not workspace.exists():
        return [warning(check, "is not there yet",
                        fix="the first command makes it; `--workspace` names another")]  # fmt: skip

    def write() -> str:
        with tempfile.NamedTemporaryFile(dir=workspace, prefix=".doctor-") as file:
            file.write(b"x" * 65536)
            file.flush()
        return "can be written"

    usage = shutil.disk_usage(workspace)
    made = [
        attempted(check, write, fix="make room, or give its owner the right to write there",
                  trouble=OSError),
        judging.disk(str(workspace), usage.free, usage.total),
    ]  # fmt: skip
    for name in SECRETS:
        path = workspace / name
        if path.exists():
            held = path.stat()
            made.append(judging.private(str(path), held.st_mode, owned=held.st_uid == os.getuid()))
    if not (workspace / "key").exists():
        made.append(ok("key", "none in the workspace; it is made with the platform"))
    return made
