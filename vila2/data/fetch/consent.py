"""Opt-outs from machine reading, by headers and robots.txt. Pure, except for fetching robots.txt.

Headers: X-Robots-Tag with noai, noimageai, noindex or noimageindex, for all agents or for ours, and
tdm-reservation: 1 (W3C TDM Reservation Protocol). Files: robots.txt (RFC 9309).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

from protego import Protego

from vila2.data.fetch.policy import FetchRefused

OPT_OUTS = {"noai", "noimageai", "noindex", "noimageindex", "none"}
MAX_ROBOTS_BYTES = 500 * 1024
_SITES = 4096
# Directives of X-Robots-Tag that have a value of their own; any other NAME: names an agent.
_WITH_VALUE = {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}


def opted_out(headers: Iterable[tuple[str, str]], agent: str) -> str:
    """Return the directive by which a response opts out; empty if there is none."""
    for name, value in headers:
        if name == "tdm-reservation" and value.strip() == "1":
            return "tdm-reservation: 1"
        if name != "x-robots-tag":
            continue
        addressed = True
        for part in value.split(","):
            prefix, colon, rest = part.strip().partition(":")
            directive = part.strip().lower()
            if colon and prefix.strip().lower() not in _WITH_VALUE:
                addressed = prefix.strip().lower() == agent
                directive = rest.strip().lower()
            if addressed and directive in OPT_OUTS:
                return directive
    return ""


class Robots:
    """Cache of the most recently used robots.txt files; `ask` fetches one.

    `ask` returns status and body. A site without one (4xx) allows all; one that fails
    (5xx, no reply) refuses all for now (RFC 9309, section 2.3.1).
    """

    def __init__(self, ask: Callable[[str], tuple[int, bytes]], agent: str) -> None:
        self._ask, self._agent = ask, agent
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Protego | None] = OrderedDict()

    def check(self, site: str, url: str) -> None:
        """Raise `FetchRefused` if the robots.txt of `site` disallows `url`."""
        with self._lock:
            known = site in self._held
            rules = self._held.get(site)
        if not known:
            rules = self._rules(site)
            with self._lock:
                self._held[site] = rules
                while len(self._held) > _SITES:
                    self._held.popitem(last=False)
        if rules is not None and not rules.can_fetch(url, self._agent):
            raise FetchRefused(
                "robots-disallowed", "the site's robots.txt refuses this address; leave it out"
            )

    def _rules(self, site: str) -> Protego | None:
        try:
            status, body = self._ask(f"{site}/robots.txt")
        except FetchRefused as refused:
            if refused.reason in ("connect-failed", "timeout"):
                raise _unreachable() from refused
            raise
        if status >= 500 or status == 429:
            raise _unreachable()
        if status >= 300:
            return None
        return Protego.parse(body[:MAX_ROBOTS_BYTES].decode("utf-8", "replace"))


def _unreachable() -> FetchRefused:
    return FetchRefused(
        "robots-unreachable", "the site's robots.txt gave no answer; try later", retryable=True
    )
