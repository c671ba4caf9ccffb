"""The fetch policy and the error for a refused fetch. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """Limits of fetching.

    `timeout_seconds` covers one URL, redirects included. `allow_networks` are
    CIDRs that an operator allows explicitly, on all ports; otherwise only ports 80 and 443
    of public addresses are reachable.
    """

    max_bytes: int = 20 * 1024 * 1024
    timeout_seconds: float = 20.0
    max_redirects: int = 5
    user_agent: str = "vila2/0.1 (+dataset fetcher)"
    respect_robots: bool = True
    allow_networks: tuple[str, ...] = ()

    @property
    def agent_name(self) -> str:
        """The product token that robots.txt rules match."""
        return self.user_agent.partition("/")[0].strip().lower()


class FetchRefused(ValueError):
    """An image that was not fetched; `retryable` if another attempt may succeed."""

    def __init__(self, reason: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.retryable = reason, detail, retryable
