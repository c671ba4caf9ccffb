"""What may be fetched, and what a refusal says. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """The bounds of fetching.

    `timeout_seconds` is for the whole of one address, redirects included. `allow_networks` are
    CIDRs that an operator opens on purpose, with all their ports; elsewhere only ports 80 and 443
    of public addresses are reached.
    """

    max_bytes: int = 20 * 1024 * 1024
    timeout_seconds: float = 20.0
    max_redirects: int = 5
    user_agent: str = "vila2/0.1 (+dataset fetcher)"
    respect_robots: bool = True
    allow_networks: tuple[str, ...] = ()

    @property
    def agent_name(self) -> str:
        """The product name by which robots rules address us."""
        return self.user_agent.partition("/")[0].strip().lower()


class FetchRefused(ValueError):
    """An image that was not fetched; `retryable` where another attempt may succeed."""

    def __init__(self, reason: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.retryable = reason, detail, retryable
