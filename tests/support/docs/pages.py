"""What a page's blocks need: a folder, and what stands in for what the reader has."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.support.docs.blocks import name_of
from tests.support.docs.prepared import Prepared
from tests.support.docs.shell import Shell
from tests.support.docs.stand_ins import (
    PREPARATIONS,
    RUNBOOK,
    RUNBOOK_PROGRAMS,
    STAND_INS,
)
from tests.support.waiting import until

ADDRESS = "127.0.0.1:8620"


@dataclass
class Page:
    """One page's folder, shell and Python; `stand_ins` replace words of its blocks."""

    folder: Path
    shell: Shell
    prepared: Prepared
    stand_ins: dict[str, str]
    namespace: dict[str, Any] = field(default_factory=dict)
    _used: set[str] = field(default_factory=set)

    def filled(self, text: str) -> str:
        """A block's text for this machine."""
        text = text.replace(ADDRESS, self.prepared.address)
        for word, stands in self.stand_ins.items():
            parts = re.split(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)
            if len(parts) > 1:
                self._used.add(word)
            text = stands.join(parts)
        return text

    def unused(self) -> list[str]:
        """Stand-ins for what the page no longer names."""
        return sorted(set(self.stand_ins) - self._used)

    def request(self, text: str) -> None:
        """Send each line `METHOD /path  {body}; Header: value` to the dataset store.

        A line that ends with `until "STATE"` is sent until the answer has that state.
        """
        for line in text.splitlines():
            wanted = re.search(r'^GET .* until "(\w+)"$', line)
            if wanted is None:
                self._send(line)
            else:
                until(lambda line=line, state=wanted[1]: self._send(line)["state"] == state)

    def _send(self, line: str) -> Any:
        """One line's answer."""
        found = re.fullmatch(r"(\w+) +(\S+) *({.*})?(?:; ([\w-]+): (.*))?.*", line)
        assert found is not None, line
        method, path, body, header, value = found.groups()
        key = {"authorization": f"Bearer {self.prepared.platform.key}"}
        headers = {**key, **({header: value} if header else {})}
        content = (self.folder / "piece").read_bytes() if method == "PUT" else None
        answer = httpx2.request(
            method, f"http://{self.prepared.address}/datasets{path}", headers=headers,
            json=json.loads(body) if body else None, content=content,
        )  # fmt: skip
        assert answer.is_success, f"{line}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None


def page_in(path: Path, folder: Path, prepared: Prepared) -> Page:
    """A page whose reader has what `STAND_INS` and `PREPARATIONS` say."""
    name = name_of(path)
    (folder / ".vila2").symlink_to(prepared.workspace)
    words = filled(STAND_INS.get(name, {}), folder, prepared)
    made = Page(folder, Shell(folder), prepared, words)
    if name in PREPARATIONS:
        PREPARATIONS[name](made)
    return made


def runbook_in(folder: Path, prepared: Prepared, **hosts: str) -> Page:
    """A runbook's page; requests to `hosts`, such as prometheus=HOST:PORT, go there."""
    shell = Shell(folder, RUNBOOK_PROGRAMS)
    own = ["datasets", "caption", "training", "controller", "triton", "s3"]
    known = {**dict.fromkeys(own, prepared.address), **hosts}
    lines = [f'connect-to = "{host}::{address}"' for host, address in known.items()]
    (folder / ".curlrc").write_text("\n".join(lines) + "\n")
    return Page(folder, shell, prepared, filled(RUNBOOK, folder, prepared))


def filled(words: dict[str, str], folder: Path, prepared: Prepared) -> dict[str, str]:
    """Stand-ins with this platform's names."""
    known = {
        "root": prepared.root, "world": prepared.root / "world", "folder": folder,
        "model": prepared.model, "run": prepared.run.id, "job": prepared.job,
        "layer": prepared.layer, "tiny": prepared.root / "tiny-model",
        "address": prepared.address, "key": prepared.platform.key,
    }  # fmt: skip
    return {word: text.format(**known) for word, text in words.items()}
