"""Pure decisions of the Triton engine: the window, and whom to unload."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from services.caption.engines.window import Window
from services.caption.triton.served import IN_USE_SECONDS, Held, victims

NOW = 1000.0


@given(st.lists(st.sampled_from(["ok", "full", "same"]), max_size=200))
def test_a_window_stays_within_its_bounds(events: list[str]) -> None:
    window = Window(first=16, least=2, most=64)
    for event in events:
        if event == "ok":
            window.succeeded()
        else:
            window.overfull(window._epoch if event == "full" else window._epoch - 1)
        assert 2 <= window.limit <= 64


def test_requests_that_were_refused_together_halve_the_window_once() -> None:
    window = Window(first=64)
    for _ in range(30):
        window.overfull(0)
    assert window.limit == 32


def test_no_more_are_in_flight_than_the_window_holds() -> None:
    async def run() -> int:
        window, most, now = Window(first=5), 0, 0

        async def one() -> None:
            nonlocal most, now
            async with window.slot():
                now += 1
                most = max(most, now)
                await asyncio.sleep(0)
                now -= 1

        await asyncio.gather(*(one() for _ in range(40)))
        return most

    assert asyncio.run(run()) == 5


models = st.builds(
    Held,
    prefix=st.uuids().map(str),
    bytes=st.integers(1, 100),
    used_at=st.floats(0, NOW),
    loading=st.booleans(),
)


@given(st.lists(models, max_size=8), st.integers(1, 200), st.integers(1, 400))
def test_whoever_is_in_use_stays_and_what_remains_fits(
    held: list[Held], wanted: int, budget: int
) -> None:
    gone = victims(held, wanted=wanted, budget=budget, now=NOW)
    idle = [m for m in held if not m.loading and NOW - m.used_at > IN_USE_SECONDS]
    if gone is None:
        busy = sum(m.bytes for m in held) - sum(m.bytes for m in idle)
        assert busy + wanted > budget
        return
    assert set(gone) <= {m.prefix for m in idle}
    assert sum(m.bytes for m in held if m.prefix not in gone) + wanted <= budget
    # Nobody goes who was used after one that stays idle.
    stays = [m.used_at for m in idle if m.prefix not in gone]
    assert all(m.used_at <= min(stays, default=NOW) for m in idle if m.prefix in gone)
