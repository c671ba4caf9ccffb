"""What is counted around any engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from prometheus_client import REGISTRY

from services.caption.engines.measured import MeasuredEngine, Meter
from tests.support.runs.instant_engine_and_backend import InstantEngine
from vila2.engine.requests import Generation, Request
from vila2.schemas.sampling import Sampling

ASK = Request(np.zeros((32, 32, 3), np.uint8), "what?", 0, Sampling(max_new_tokens=8))


def value(name: str, model: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"vila2_engine_{name}", {"model": model, **labels}) or 0.0


class Broken(InstantEngine):
    """Answers one and then no more."""

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        progress(1)
        raise RuntimeError("gone")


def test_time_counts_as_busy_while_any_question_is_open() -> None:
    """However many are open at once, and not between them."""
    now = [0.0]
    meter = Meter("timed", clock=lambda: now[0])
    for at, more in ((10, 2), (11, -1), (13, -1), (20, 1), (24, -1)):
        now[0] = at
        meter.change(more)
    assert value("busy_seconds_total", "timed") == 3 + 4
    assert value("open", "timed") == 0


def test_answers_and_tokens_are_counted_as_the_engine_tells_them() -> None:
    engine = MeasuredEngine(InstantEngine({"quality": 0.5}), Meter("told"))
    told: list[int] = []
    engine.generate([ASK, ASK, ASK], progress=told.append)
    list(engine.stream(ASK))
    assert told == [1, 2, 3]
    assert value("answers_total", "told") == 4
    assert value("tokens_total", "told", kind="output") == 4 * 12
    assert value("tokens_total", "told", kind="prompt") == 4 * 4
    assert value("open", "told") == 0


def test_no_question_stays_open_where_an_engine_breaks() -> None:
    """Or it would look busy for ever."""
    engine = MeasuredEngine(Broken({"quality": 0.5}), Meter("broken"))
    with pytest.raises(RuntimeError, match="gone"):
        engine.generate([ASK, ASK, ASK], progress=lambda _: None)
    assert value("open", "broken") == 0


def test_a_reader_that_leaves_a_stream_closes_its_question() -> None:
    engine = MeasuredEngine(InstantEngine({"quality": 0.5}), Meter("left"))
    stream = engine.stream(ASK)
    next(stream)
    assert value("open", "left") == 1
    stream.close()  # type: ignore[attr-defined]
    assert value("open", "left") == 0
