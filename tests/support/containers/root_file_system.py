"""A small root file system made of Debian packages that this machine has installed."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

ALWAYS = ("base-files", "bash", "coreutils", "dash", "debianutils", "findutils", "grep", "gzip",
          "hostname", "libc-bin", "passwd", "sed", "tar", "tzdata", "util-linux")  # fmt: skip
_LEFT_OUT = ("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/info/")
_MERGED = re.compile(r"^/(bin|sbin|lib|lib64)(?=/)")
_FOLDERS = ("dev", "proc", "run", "sys", "tmp", "var/tmp", "root", "etc", "var/lib", "var/log")


class PackageMissing(RuntimeError):
    """A Debian package is not installed here; the message says which."""


def write_root(out: Path, *packages: str, more: dict[str, Path] | None = None) -> None:
    """Write the packages with all that they need as a tar; `more` adds files or folders by name."""
    installed = _installed()
    absent = [name for name in packages if name not in installed]
    if absent:
        raise PackageMissing(f"apt-get install --no-install-recommends {' '.join(absent)}")
    given = more or {}
    made = {name: _link(name, f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")}
    made |= {name: _folder(name) for name in _FOLDERS}
    paths = {path.lstrip("/") for path in _files(_closure(packages, installed))}
    with tarfile.open(out, "w") as tar:
        for info in made.values():
            tar.addfile(info)
        for name, text in _USERS.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
        for name in sorted(paths - {*made, *_USERS, *given}):
            tar.add(f"/{name}", name, recursive=False)
        for name, source in given.items():
            tar.add(source, name)


def _installed() -> dict[str, tuple[str, str]]:
    """Package -> (what it needs, what it stands for)."""
    form = "${db:Status-Abbrev}\t${Package}\t${Pre-Depends}, ${Depends}\t${Provides}\n"
    lines = subprocess.run(
        ["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = (line.split("\t") for line in lines)
    return {name: (needs, given) for state, name, needs, given in rows if state.startswith("ii")}


def _closure(packages: tuple[str, ...], installed: dict[str, tuple[str, str]]) -> set[str]:
    provided = {
        word: name for name, (_, given) in installed.items() for word in _words(given)
    }  # fmt: skip
    found: set[str] = set()
    waiting = [*packages, *ALWAYS]
    while waiting:
        name = waiting.pop()
        name = name if name in installed else provided.get(name, "")
        if name and name not in found:
            found.add(name)
            waiting += _words(installed[name][0])
    return found


def _words(text: str) -> Iterator[str]:
    """The names in a list of packages; of alternatives, all that are installed will be taken."""
    for part in re.split(r"[,|]", text):
        if part.strip():
            yield part.split()[0].partition(":")[0]


def _files(packages: set[str]) -> set[str]:
    listed = subprocess.run(
        ["dpkg", "-L", *sorted(packages)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    paths = {_MERGED.sub(r"/usr/\1", line) for line in listed if line.startswith("/")}
    paths |= {"/etc/ld.so.cache", "/etc/ld.so.conf"} | {
        str(path) for path in Path("/etc/ld.so.conf.d").glob("*")
    }
    for folder in map(Path, ("/etc/alternatives", "/etc/ssl/certs", "/usr/share/ca-certificates")):
        paths |= {str(path) for path in folder.rglob("*")}
    return {
        path for path in paths - {"/."}
        if not path.lstrip("/").startswith(_LEFT_OUT)
        and (Path(path).exists() or Path(path).is_symlink())
    }  # fmt: skip


_USERS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
                  "postgres:x:999:999::/var/lib/postgresql:/bin/bash\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\npostgres:x:999:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\n",
    "etc/gshadow": "root:*::\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}  # fmt: skip


def _folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
    return info


def _link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info
