"""Many callers, one batch: everybody gets the answer they would have got alone."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.library.model.test_captioner import requests
from tests.support.models.tiny_preset import model
from vila2.engine.captioner import Captioner, admits
from vila2.engine.requests import Request
from vila2.engine.scheduler import QueueFull, Scheduler, Ticket
from vila2.schemas.sampling import Sampling


def varied(count: int, *, temperature: float = 0.8) -> list[Request]:
    """Answers of different lengths, so that rows leave and others join in the middle."""

    def sampling(n: int) -> Sampling:
        return Sampling(temperature=temperature, top_p=0.9, max_new_tokens=1 + n * 5 % 17)

    return [
        replace(request, sampling=sampling(n))
        for n, request in enumerate(requests(count, temperature=temperature))
    ]


def test_rows_that_join_in_the_middle_get_the_answers_they_get_alone() -> None:
    captioner = Captioner(model(), batch_size=4)
    asked = varied(23)
    together = captioner.generate(asked)
    alone = [captioner.generate([request])[0] for request in asked]
    assert [g.text for g in together] == [g.text for g in alone]
    assert [g.finish_reason for g in together] == [g.finish_reason for g in alone]
    assert [g.prompt_tokens for g in together] == [
        len(captioner.chat.prompt(request.question)) for request in asked
    ]
    for one, other in zip(together, alone, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_callers_at_the_same_time_share_a_batch_and_keep_their_order() -> None:
    captioner = Captioner(model(), batch_size=4)
    asked = [varied(9), varied(5, temperature=0.0), varied(14)]
    alone = [[g.text for g in captioner.generate(a)] for a in asked]
    scheduler = Scheduler(captioner)
    made: dict[int, list[str]] = {}

    def call(number: int) -> None:
        made[number] = [g.text for g in scheduler.generate(asked[number])]

    threads = [threading.Thread(target=call, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    scheduler.close()
    assert [made[n] for n in range(3)] == alone


def test_a_request_that_breaks_its_batch_is_told_and_the_next_is_answered() -> None:
    """Pixels of another size: the callers in that batch get the error, later ones their answer."""
    captioner = Captioner(model(), batch_size=4)
    scheduler = Scheduler(captioner)
    good = varied(2)
    bad = Request(good[0].pixels[:7], "what?", 0, Sampling())
    with pytest.raises(Exception, match=r"shape|size|dimension"):
        scheduler.generate([good[0], bad])
    assert len(scheduler.generate(good)) == 2
    scheduler.close()


def test_a_full_queue_refuses_and_takes_none() -> None:
    scheduler = Scheduler(Captioner(model(), batch_size=2), max_waiting=3)
    with pytest.raises(QueueFull, match="maximum queue size 3"):
        scheduler.generate(varied(4))
    assert len(scheduler.generate(varied(3))) == 3
    scheduler.close()


def test_a_cancelled_request_leaves_and_the_text_grows_for_who_watches() -> None:
    captioner = Captioner(model(), batch_size=4)
    scheduler = Scheduler(captioner)
    request = requests(1, temperature=0.0)[0]
    seen: list[str] = []
    ended = threading.Event()
    watcher = Ticket(
        request, captioner.chat.prompt(request.question), lambda _: ended.set(),
        lambda _: ended.set(), on_text=seen.append,
    )  # fmt: skip
    gone = Ticket(request, captioner.chat.prompt("what?"), pytest.fail, pytest.fail)
    gone.cancelled = True
    scheduler.submit([gone, watcher])
    assert ended.wait(30)
    scheduler.close()
    final = captioner.generate([request])[0].text
    assert seen
    assert all(len(a) <= len(b) for a, b in zip(seen, [*seen[1:], final], strict=True))


@given(st.integers(0, 64), st.integers(0, 200), st.integers(1, 64))
def test_admission_never_overfills_and_never_starves(
    running: int, waiting: int, capacity: int
) -> None:
    running = min(running, capacity)
    room = admits(running=running, waiting=waiting, capacity=capacity)
    assert 0 <= room <= min(waiting, capacity - running)
    if running == 0 and waiting:
        assert room
