"""A captioner that many callers share: requests from all of them run in one batch."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vila2.model.captioner import Captioner, admits
from vila2.model.requests import Generation, Request

# A waiting prompt joins the oldest one's group if its length is within this share of it.
_LIKE = 0.25


class QueueFull(RuntimeError):
    """More requests wait than the scheduler takes; the caller should send fewer at a time."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request on its way; one of `on_end` and `on_error` is called once, from the scheduler."""

    request: Request
    prompt: list[int]
    on_end: Callable[[Generation], None]
    on_error: Callable[[Exception], None]
    on_text: Callable[[str], None] | None = None
    cancelled: bool = False


class Scheduler:
    """Runs a captioner in a thread of its own; `submit` from anywhere, any number at once.

    The oldest request always goes first, and with it those that wait and are of like length.
    """

    def __init__(self, captioner: Captioner, *, max_waiting: int = 1_000_000) -> None:
        self._captioner, self._max_waiting = captioner, max_waiting
        self._waiting: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._running = captioner.batch()
        self._tickets: set[Ticket] = set()
        self.steps = 0
        self.rows = 0  # summed over the steps: rows / (steps x batch size) is how full they were
        self._thread = threading.Thread(target=self._work, name="captioner", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Rows in the batch now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that are not in the batch yet."""
        return len(self._waiting)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Queue requests; raises `QueueFull`, and then takes none of them."""
        with self._changed:
            if self._ending:
                raise RuntimeError("the captioner is being closed")
            if len(self._waiting) + len(tickets) > self._max_waiting:
                raise QueueFull(
                    f"{len(self._waiting)} requests wait: exceeds maximum queue size "
                    f"{self._max_waiting}"
                )
            self._waiting.extend(tickets)
            self._changed.notify()

    def close(self) -> None:
        """Answer what is there and end the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None] | None = None
    ) -> list[Generation]:
        """Answer every request, in order, as `Captioner.generate` does, beside other callers."""
        answers: dict[int, Generation] = {}
        errors: list[Exception] = []
        one_more = threading.Semaphore(0)

        def took(number: int) -> Callable[[Generation], None]:
            def took_it(made: Generation) -> None:
                answers[number] = made
                one_more.release()

            return took_it

        def broke(error: Exception) -> None:
            errors.append(error)
            one_more.release()

        chat = self._captioner.chat
        tickets = [
            Ticket(request, chat.prompt(request.question), took(number), broke)
            for number, request in enumerate(requests)
        ]
        self.submit(tickets)
        for done in range(len(requests)):
            one_more.acquire()
            if errors:
                for ticket in tickets:
                    ticket.cancelled = True
                raise errors[0]
            if progress:
                progress(done + 1)
        return [answers[number] for number in range(len(requests))]

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not len(self._running):
                    if self._ending:
                        return
                    self._changed.wait()
                group = self._next_group()
            try:
                self._advance(group)
            except Exception as error:
                # One bad batch must not end the service: who is in it is told, and it starts anew.
                for ticket in self._tickets | set(group):
                    ticket.on_error(error)
                self._tickets.clear()
                self._running = self._captioner.batch()

    def _next_group(self) -> list[Ticket]:
        """Whom to read in now; taken out of the queue."""
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
