"""Install Triton from Python wheels: the server's binary, and the NumPy that its backend needs.

The server comes in the wheel of `nvidia-pytriton`, of which nothing else is used. It must not be
installed beside the platform's own packages: its Python backend was built against NumPy 1 and
crashes on NumPy 2, so both lie in a folder of their own, and only the backend's processes see them.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

SERVER = "nvidia-pytriton==0.7.0"  # Triton 2.51
NUMPY = "numpy==1.26.4"
_STUB = "triton_python_backend_stub"


class TritonMissing(RuntimeError):
    """Triton is not there or cannot run here; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Where the parts are; by default below the Python environment's own folder."""

    folder: Path

    @classmethod
    def default(cls) -> Installed:
        """Beside this Python's packages."""
        return cls(Path(sys.prefix) / "triton")

    @property
    def server(self) -> Path:
        """Triton's own folder: `bin`, `backends`, `caches`."""
        return self.folder / "server" / "pytriton" / "tritonserver"

    @property
    def binary(self) -> Path:
        """The server."""
        return self.server / "bin" / "tritonserver"

    @property
    def numpy(self) -> Path:
        """A folder for PYTHONPATH that puts NumPy 1 before the environment's own."""
        return self.folder / "numpy"

    def check(self) -> None:
        """Raise `TritonMissing` unless Triton can be started here."""
        if not self.binary.exists() or not (self.numpy / "numpy").exists():
            raise TritonMissing("Triton is not installed: run `vila2 triton install`")
        if not libpython().exists():
            raise TritonMissing(
                f"Triton's Python backend needs {libpython()}: install Python's shared library "
                f"(Debian: apt-get install libpython{_version()}), or use a Python that has it"
            )


def install(where: Installed) -> None:
    """Install what is missing; raises `TritonMissing` where there is no build for this machine."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise TritonMissing(
            f"there is no Triton wheel for {platform.system()} on {platform.machine()}: "
            "run Triton's container and give its address with VILA2_TRITON_URL"
        )
    _pip(SERVER, where.folder / "server")
    _pip(NUMPY, where.numpy)
    stub = where.server / "python_backend_stubs" / _version() / _STUB
    if not stub.exists():
        raise TritonMissing(
            f"Triton's Python backend has no build for Python {_version()}: use 3.11 to 3.13"
        )
    target = where.server / "backends" / "python" / _STUB
    shutil.copy(stub, target)
    for program in (target, where.binary):
        program.chmod(0o755)


def libpython() -> Path:
    """The shared library of this very interpreter, which the backend's processes load."""
    folder = Path(str(sysconfig.get_config_var("LIBDIR")))
    name = f"libpython{_version()}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH")
    for candidate in (folder / name, folder / str(multiarch) / name):
        if candidate.exists():
            return candidate
    return folder / name


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _pip(requirement: str, target: Path) -> None:
    """Install one wheel, without what it asks for, into a folder of its own."""
    done = target / ".installed"
    if done.exists() and done.read_text() == requirement:
        return
    shutil.rmtree(target, ignore_errors=True)
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--target", str(target), requirement,
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise TritonMissing(f"{requirement} could not be installed:\n{made.stderr.strip()[-2000:]}")
    done.write_text(requirement)
