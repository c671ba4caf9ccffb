"""The client waits where a service asks it to, and no longer than is polite to its user."""

from __future__ import annotations

import time

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.identity.limiter import Limiter
from services.platform.embedded import EmbeddedPlatform
from tests.support.embedded_platform import client_with
from vila2.client import ApiError
from vila2.client.http import PATIENCE, pause_before_retry
from vila2.schemas.rest.identity import LimitsIn


def reply(status: int, after: str | None) -> httpx2.Response:
    return httpx2.Response(status, headers={} if after is None else {"retry-after": after})


@pytest.mark.parametrize(("status", "after"), [
    (429, None), (429, "soon"), (429, "-1"), (429, "Wed, 21 Oct 2015 07:28:00 GMT"),
    (503, "1"), (404, "1"), (429, "100000"),
])  # fmt: skip
def test_nothing_else_is_waited_for(status: int, after: str | None) -> None:
    """Not another status, not what says no time, not a quota of tomorrow."""
    assert pause_before_retry(reply(status, after), waited=0) is None


@given(st.integers(1, 100), st.floats(0, 200))
def test_a_request_waits_no_longer_than_its_patience(after: int, waited: float) -> None:
    pause = pause_before_retry(reply(429, str(after)), waited=waited)
    if pause is None:
        assert waited + after > PATIENCE
    else:
        assert after <= pause <= 1.1 * after


def test_a_request_over_the_limit_succeeds_a_moment_later(platform: EmbeddedPlatform) -> None:
    """Its user sees nothing but the time."""
    red = client_with(platform, platform.identity.keys.issue(team="red"))
    platform.client.identity.set_limits("red", LimitsIn(requests_per_minute=1))
    platform.identity._limiter = Limiter(window=2)
    red.datasets.all()
    began = time.monotonic()
    assert red.datasets.all() == []
    assert 0.5 < time.monotonic() - began < 5


def test_a_refusal_that_asks_for_too_long_is_told_with_the_time(
    platform: EmbeddedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vila2.client.http.PATIENCE", 5.0)
    red = client_with(platform, platform.identity.keys.issue(team="red"))
    platform.client.identity.set_limits("red", LimitsIn(requests_per_minute=1))
    red.datasets.all()
    with pytest.raises(ApiError, match="may send 1 requests a minute") as refused:
        red.datasets.all()
    assert refused.value.retry_after == pytest.approx(60, abs=2)
