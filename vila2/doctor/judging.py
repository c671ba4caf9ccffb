"""Checks. Pure: each takes a measured value and returns a finding."""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from vila2.doctor.finding import Finding, ok, problem, warning

GIB = 2**30
OLDEST_PYTHON = (3, 11)
# Below the first, any write may fail; below the second, a layer may not fit.
LEAST_FREE, LITTLE_FREE = 1 * GIB, 10 * GIB
# S3 refuses signatures that are 15 minutes off; logs cannot be compared long before that.
CLOCK_WARNING, CLOCK_PROBLEM = 2.0, 300.0


def python(version: tuple[int, int, int]) -> Finding:
    """The Python version."""
    found = ".".join(map(str, version))
    if version[:2] < OLDEST_PYTHON:
        return problem("Python", found, fix="install Python 3.11 or newer and make the venv again")
    return ok("Python", found)


def packages(required: Sequence[str], installed: Mapping[str, str]) -> list[Finding]:
    """The distribution's requirements against what is installed (canonical name -> version).

    Packages outside of extras must be installed. Those of an extra may be absent; installed ones
    must have a matching version.
    """
    wrong, absent, extras = [], [], dict[str, list[bool]]()
    for text in required:
        wanted = Requirement(text)
        extra = _extra(wanted)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        if name == "vila2":
            continue  # an extra that refers to other extras
        version = installed.get(name)
        if version is not None and not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{name} {version} (wanted {wanted.specifier})")
        if extra:
            extras.setdefault(extra, []).append(version is not None)
        elif version is None:
            absent.append(name)
    fix = "`pip install -c constraints.txt 'vila2[embedded]'`, or the extras that you use"
    made = [problem("packages", f"{name} is missing", fix=fix) for name in absent]
    made += [problem("packages", f"{name} is installed", fix=fix) for name in wrong]
    whole = sorted(extra for extra, held in extras.items() if all(held))
    return made or [
        ok("packages", f"in order; extras that are whole: {', '.join(whole) or 'none'}")
    ]


def _extra(wanted: Requirement) -> str:
    marker = str(wanted.marker or "")
    _, found, rest = marker.partition("extra == ")
    return rest.split()[0].strip("\"')") if found else ""


def disk(where: str, free: int, total: int) -> Finding:
    """Free and total bytes of a file system."""
    check, found = f"disk of {where}", f"{free / GIB:.1f} of {total / GIB:.0f} GiB free"
    if free < LEAST_FREE:
        return problem(check, found, fix="make room, or move the folder to a larger disk")
    if free < LITTLE_FREE:
        return warning(check, found, fix="make room before the next large dataset or model")
    return ok(check, found)


def private(path: str, mode: int, *, owned: bool) -> Finding:
    """Whether only its owner can read a file with a secret; `mode` is that of `stat`."""
    check, bits = f"permissions of {path}", stat.S_IMODE(mode)
    found = f"{bits:04o}" + ("" if owned else ", of another user")
    if bits & 0o077:
        return problem(check, found, fix=f"`chmod 600 {path}`, and renew the key if others log in")
    if not owned:
        return warning(check, found, fix=f"run as its owner, or `chown` {path}")
    return ok(check, found)


def clock(of: str, ahead: float, uncertain: float) -> Finding:
    """A clock `ahead` of ours, in seconds, with a margin of `uncertain` seconds."""
    check, off = f"clock of {of}", max(0.0, abs(ahead) - uncertain)
    found = f"{'ahead of' if ahead > 0 else 'behind'} this machine's by {abs(ahead):.1f} s"
    fix = "run chrony or ntpd on both machines"
    if off > CLOCK_PROBLEM:
        return problem(check, found, fix=f"{fix}: S3 refuses requests a quarter of an hour off")
    if off > CLOCK_WARNING:
        return warning(check, found, fix=fix)
    return ok(check, f"{off:.1f} s off")


def version(service: str, theirs: str, ours: str) -> Finding:
    """A service's version compared with that of this installation."""
    check = f"service {service}"
    if not theirs:
        return warning(check, "answers, and does not tell its version",
                       fix=f"upgrade it to {ours}")  # fmt: skip
    if theirs != ours:
        return problem(check, f"version {theirs}, and this is {ours}",
                       fix="install the same version everywhere and restart")  # fmt: skip
    return ok(check, f"answers, version {theirs}")


def torch(build: str | None, cuda: str | None, gpus: int) -> Finding:
    """The installed build (`None` if none), its CUDA version, and the number of GPUs."""
    check = "torch"
    if build is None:
        return ok(check, "not installed; only training, evaluation and the embedded engine need it")
    if gpus and cuda is None:
        return warning(check, f"{build} for the CPU, beside {gpus} GPUs",
                       fix="install the CUDA build: `make setup TORCH_INDEX=...`")  # fmt: skip
    if cuda and not gpus:
        return warning(check, f"{build} for CUDA {cuda}, and no GPU is seen here",
                       fix="install the driver, or the smaller CPU build")  # fmt: skip
    return ok(check, f"{build} for {f'CUDA {cuda}, {gpus} GPUs' if cuda else 'the CPU'}")
