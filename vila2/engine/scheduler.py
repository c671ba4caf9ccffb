"""A captioner shared by many callers, whose requests run in one batch.

Captions to score have their own queue; a batch of them runs between two decoding steps.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from vila2.engine.captioner import Captioner, admits
from vila2.engine.consistency import Score, Scorer
from vila2.engine.requests import Generation, Request, Scoring

Made = TypeVar("Made", Generation, Score)

# A waiting prompt joins the oldest one's group if its length is within this share of it.
_LIKE = 0.25


class QueueFull(RuntimeError):
    """The queue is full; the caller should send fewer requests at a time."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A queued or running request; either `on_end` or `on_error` is called, once."""

    request: Request
    prompt: list[int]
    on_end: Callable[[Generation], None]
    on_error: Callable[[Exception], None]
    on_text: Callable[[str], None] | None = None
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class ScoreTicket:
    """A queued caption to score; either `on_end` or `on_error` is called, once."""

    request: Scoring
    on_end: Callable[[Score], None]
    on_error: Callable[[Exception], None]
    cancelled: bool = False


class Scheduler:
    """Runs a captioner in its own thread; `submit` is thread-safe.

    The oldest request always goes first, together with waiting requests of similar length.
    """

    def __init__(self, captioner: Captioner, *, max_waiting: int = 1_000_000) -> None:
        self._captioner, self._max_waiting = captioner, max_waiting
        self._waiting: deque[Ticket] = deque()
        self._to_score: deque[ScoreTicket] = deque()
        self._scorer: Scorer | None = None  # made when first needed
        self._changed = threading.Condition()
        self._ending = False
        self._running = captioner.batch()
        self._tickets: set[Ticket] = set()
        self.steps = 0
        self.rows = 0  # summed over all steps: rows / (steps x batch size) is the mean occupancy
        self._thread = threading.Thread(target=self._work, name="captioner", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Rows in the batch now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that are not in the batch yet."""
        return len(self._waiting) + len(self._to_score)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Queue requests; raises `QueueFull` without queueing any."""
        with self._changed:
            self._check_room(len(tickets))
            self._waiting.extend(tickets)
            self._changed.notify()

    def submit_scores(self, tickets: Sequence[ScoreTicket]) -> None:
        """Queue captions to score; raises `QueueFull` without queueing any."""
        with self._changed:
            self._check_room(len(tickets))
            self._to_score.extend(tickets)
            self._changed.notify()

    def _check_room(self, more: int) -> None:
        if self._ending:
            raise RuntimeError("the captioner is being closed")
        if self.waiting + more > self._max_waiting:
            raise QueueFull(
                f"{self.waiting} requests wait: exceeds maximum queue size {self._max_waiting}"
            )

    def close(self) -> None:
        """Finish the submitted requests and stop the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None] | None = None
    ) -> list[Generation]:
        """Answer every request, in order, like `Captioner.generate`. Callers share the batch."""
        chat, ends = self._captioner.chat, _Ends[Generation](progress)
        tickets = [
            Ticket(request, chat.prompt(request.question), ends.took(number), ends.broke)
            for number, request in enumerate(requests)
        ]
        self.submit(tickets)
        return ends.wait(tickets)

    def score(self, requests: Sequence[Scoring]) -> list[Score]:
        """Score every caption, in order, like `Scorer.score`. Callers share the batch."""
        ends = _Ends[Score](None)
        tickets = [
            ScoreTicket(request, ends.took(number), ends.broke)
            for number, request in enumerate(requests)
        ]
        self.submit_scores(tickets)
        return ends.wait(tickets)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self.waiting and not len(self._running):
                    if self._ending:
                        return
                    self._changed.wait()
                group = self._next_group()
                captions = self._next_captions()
            self._judge(captions)
            try:
                self._advance(group)
            except Exception as error:
                # A failed batch must not stop the service: its tickets fail, and a new batch
                # starts.
                for ticket in self._tickets | set(group):
                    ticket.on_error(error)
                self._tickets.clear()
                self._running = self._captioner.batch()

    def _next_group(self) -> list[Ticket]:
        """Remove from the queue and return the requests to prefill now."""
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.cancelled)
        room = admits(
            running=len(self._running),
            waiting=len(self._waiting),
            capacity=self._captioner.batch_size,
        )
        if not room:
            return []
        oldest = len(self._waiting[0].prompt)
        group: list[Ticket] = []
        rest: list[Ticket] = []
        for ticket in self._waiting:
            like = abs(len(ticket.prompt) - oldest) <= _LIKE * oldest
            (group if like and len(group) < room else rest).append(ticket)
        self._waiting = deque(rest)
        return group

    def _next_captions(self) -> list[ScoreTicket]:
        """Remove from the queue and return captions to score before the next step, oldest first."""
        room = max(1, self._captioner.batch_size // 2)
        taken = [self._to_score.popleft() for _ in range(min(room, len(self._to_score)))]
        return [ticket for ticket in taken if not ticket.cancelled]

    def _judge(self, captions: Sequence[ScoreTicket]) -> None:
        if not captions:
            return
        try:
            if self._scorer is None:
                self._scorer = Scorer(self._captioner)
            scores = self._scorer.score([ticket.request for ticket in captions])
        except Exception as error:
            for ticket in captions:
                ticket.on_error(error)
            return
        for ticket, made in zip(captions, scores, strict=True):
            ticket.on_end(made)

    def _advance(self, group: Sequence[Ticket]) -> None:
        if group:
            self._running.admit(group, [t.request for t in group], [t.prompt for t in group])
            self._tickets.update(group)
        gone = {ticket for ticket in self._tickets if ticket.cancelled}
        if gone:
            self._running.drop(set(gone))
            self._tickets -= gone
        if not len(self._running):
            return
        self.steps += 1
        self.rows += len(self._running)
        for ticket, made in self._running.step():
            assert isinstance(ticket, Ticket)
            self._tickets.discard(ticket)
            ticket.on_end(made)
        for ticket in self._tickets:
            if ticket.on_text is not None:
                ticket.on_text(self._running.partial(ticket))


class _Ends(Generic[Made]):
    """Collects the results of one caller's tickets and waits for them."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self._progress = progress
        self._made: dict[int, Made] = {}
        self._errors: list[Exception] = []
        self._one_more = threading.Semaphore(0)

    def took(self, number: int) -> Callable[[Made], None]:
        """The `on_end` of ticket `number`."""

        def took_it(made: Made) -> None:
            self._made[number] = made
            self._one_more.release()

        return took_it

    def broke(self, error: Exception) -> None:
        """The `on_error` of every ticket."""
        self._errors.append(error)
        self._one_more.release()

    def wait(self, tickets: Sequence[Ticket] | Sequence[ScoreTicket]) -> list[Made]:
        """Return all results in order; raises the first error without waiting for the rest."""
        for done in range(len(tickets)):
            self._one_more.acquire()
            if self._errors:
                for ticket in tickets:
                    ticket.cancelled = True
                raise self._errors[0]
            if self._progress:
                self._progress(done + 1)
        return [self._made[number] for number in range(len(tickets))]
