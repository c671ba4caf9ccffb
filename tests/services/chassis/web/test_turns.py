"""Turns of a team: what waits, what is refused, and that nobody else notices."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from starlette.requests import ClientDisconnect

from services.chassis.web.errors import TooManyRequests
from services.chassis.web.limit_settings import RequestSettings
from services.chassis.web.turns import SlowRequests, Turns


def turns(most: int = 1, waiting: int = 1) -> Turns:
    return Turns(most, waiting, setting="VILA2_X")


def test_a_team_at_its_limit_waits_and_then_is_refused() -> None:
    """The refusal says when to come again and which setting decides."""

    async def main() -> None:
        held = turns()
        await held.take("red")
        waits = asyncio.create_task(held.take("red"))
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests) as refused:
            await held.take("red")
        assert "VILA2_X" in refused.value.fix
        assert refused.value.retry_after == 1
        held.give_back("red")
        await waits

    asyncio.run(main())


def test_another_team_does_not_wait() -> None:
    async def main() -> None:
        held = turns(waiting=0)
        await held.take("red")
        await asyncio.wait_for(held.take("blue"), 10)

    asyncio.run(main())


def test_a_waiting_request_that_is_given_up_passes_its_turn_on() -> None:
    """Whether it is given up before or after the turn came to it."""

    async def main(late: bool) -> None:
        held = turns(waiting=2)
        await held.take("red")
        first, second = (asyncio.create_task(held.take("red")) for _ in range(2))
        await asyncio.sleep(0)
        if late:
            held.give_back("red")
        first.cancel()
        if not late:
            await asyncio.sleep(0)
            held.give_back("red")
        await asyncio.wait_for(second, 10)
        held.give_back("red")
        await asyncio.wait_for(held.take("red"), 10)

    asyncio.run(main(late=False))
    asyncio.run(main(late=True))


def test_a_team_without_requests_leaves_nothing_behind() -> None:
    async def main() -> None:
        held = turns()
        for name in range(100):
            async with held.of(f"team-{name}"):
                pass
        assert (held._taken, held._queues) == ({}, {})

    asyncio.run(main())


def test_slow_requests_of_a_team_run_a_few_at_a_time_in_threads_of_their_own() -> None:
    """Ordinary requests find their threads free meanwhile."""
    release, most, now = threading.Event(), [0], [0]
    lock = threading.Lock()

    def work() -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        release.wait(30)
        with lock:
            now[0] -= 1
        return 7

    async def main() -> None:
        slow = SlowRequests(RequestSettings(team_slow_requests=2, team_slow_waiting=3))
        red = [asyncio.create_task(slow.run("red", work)) for _ in range(5)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests, match="2 such requests in progress and 3 waiting"):
            await slow.run("red", work)
        assert await slow.run("blue", lambda: 1) == 1
        release.set()
        assert await asyncio.gather(*red) == [7] * 5

    asyncio.run(main())
    assert most[0] <= 2


def test_a_stream_keeps_its_turn_until_its_end() -> None:
    """Also if the client goes away before the first piece."""

    def begin() -> Iterator[str]:
        yield "a"
        yield "b"

    async def main() -> None:
        slow = SlowRequests(RequestSettings(team_slow_requests=1, team_slow_waiting=0))
        sent: list[bytes] = []

        async def receive() -> dict[str, str]:
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: dict[str, object]) -> None:
            sent.append(message.get("body", b""))  # type: ignore[arg-type]

        async def gone(_: object) -> None:
            raise OSError("the client is gone")

        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        reply = await slow.stream("red", begin, media_type="text/plain")
        with pytest.raises(TooManyRequests):
            await slow.run("red", lambda: 1)
        await reply(scope, receive, send)  # type: ignore[arg-type]
        assert b"".join(sent) == b"ab"
        left = await slow.stream("red", begin, media_type="text/plain")
        with pytest.raises(ClientDisconnect):
            await left(scope, receive, gone)  # type: ignore[arg-type]
        assert await slow.run("red", lambda: 1) == 1

    asyncio.run(main())
