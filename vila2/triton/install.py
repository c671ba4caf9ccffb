"""Install Triton from Python wheels: the server's binary, and the NumPy that its backend needs.

The server comes in the wheel of `nvidia-pytriton`, of which nothing else is used. It must not be
installed beside the platform's own packages: its Python backend was built against NumPy 1 and
crashes on NumPy 2, so both are in a separate folder that only the backend's processes use.
"""

from __future__ import annotations

import filecmp
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

SERVER = "nvidia-pytriton==0.7.0"  # Triton 2.51
NUMPY = "numpy==1.26.4"
_DONE = ".installed"
_STUB = "triton_python_backend_stub"


class TritonMissing(RuntimeError):
    """Triton is not installed or cannot run here; the message names the fix."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Paths of an installation, by default inside the Python environment's folder.

    `models_run_in` is another Python environment for the models' processes, such as vLLM's.
    """

    folder: Path
    models_run_in: Path | None = None

    @classmethod
    def default(cls) -> Installed:
        """The installation inside this Python environment; VILA2_TRITON_ENVIRONMENT is read."""
        another = os.environ.get("VILA2_TRITON_ENVIRONMENT")
        return cls(Path(sys.prefix) / "triton", Path(another).absolute() if another else None)

    @property
    def server(self) -> Path:
        """Triton's folder, with `bin`, `backends` and `caches`."""
        return self.folder / "server" / "pytriton" / "tritonserver"

    @property
    def binary(self) -> Path:
        """The server's executable."""
        return self.server / "bin" / "tritonserver"

    @property
    def environment(self) -> Path:
        """The models' Python environment: by default this one's packages, preceded by NumPy 1."""
        return self.models_run_in or self.folder / "environment"

    @property
    def packages(self) -> Path:
        """That environment's `site-packages`."""
        return self.environment / "lib" / f"python{_version()}" / "site-packages"

    def check(self) -> None:
        """Raise `TritonMissing` unless Triton can be started here."""
        if not self.binary.exists() or not (self.packages / "numpy").exists():
            raise TritonMissing("Triton is not installed: run `vila2 triton install`")
        if not libpython().exists():
            raise TritonMissing(
                f"Triton's Python backend needs {libpython()}: install Python's shared library "
                f"(Debian: apt-get install libpython{_version()}), or use a Python that has it"
            )


def install(where: Installed) -> None:
    """Install what is missing; raises `TritonMissing` if there is no build for this machine."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise TritonMissing(
            f"there is no Triton wheel for {platform.system()} on {platform.machine()}: "
            "run Triton's container and give its address with VILA2_TRITON_URL"
        )
    _pip(SERVER, where.folder / "server")
    if not (where.packages / _DONE).exists():
        venv.create(where.environment, clear=True, with_pip=False, symlinks=True)
        # The backend ignores PYTHONPATH; paths in a `.pth` file come after the packages here.
        ours = [path for path in map(Path, sys.path) if path.name == "site-packages"]
        lines = [f"import site; site.addsitedir({str(path)!r})\n" for path in ours]
        (where.packages / "platform.pth").write_text("".join(lines))
    _pip(NUMPY, where.packages, clear=False)
    stub = where.server / "python_backend_stubs" / _version() / _STUB
    if not stub.exists():
        raise TritonMissing(
            f"Triton's Python backend has no build for Python {_version()}: use 3.11 to 3.13"
        )
    target = where.server / "backends" / "python" / _STUB
    if not target.exists() or not filecmp.cmp(stub, target, shallow=False):
        shutil.copy(stub, target)
    for program in (target, where.binary):
        program.chmod(0o755)


def libpython() -> Path:
    """The shared library of this interpreter, which the backend's processes load."""
    folder = Path(str(sysconfig.get_config_var("LIBDIR")))
    name = f"libpython{_version()}.so.1.0"
    multiarch = sysconfig.get_config_var("MULTIARCH")
    for candidate in (folder / name, folder / str(multiarch) / name):
        if candidate.exists():
            return candidate
    return folder / name


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _pip(requirement: str, target: Path, *, clear: bool = True) -> None:
    """Install one wheel, without its dependencies, into its own folder."""
    done = target / _DONE
    if done.exists() and done.read_text() == requirement:
        return
    if clear:
        shutil.rmtree(target, ignore_errors=True)
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary=:all:", "--target", str(target), requirement,
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise TritonMissing(f"{requirement} could not be installed:\n{made.stderr.strip()[-2000:]}")
    done.write_text(requirement)
