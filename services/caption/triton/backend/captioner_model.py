"""The library's captioner as a model of Triton's Python backend. It runs in Triton's process.

Requests of all clients go to one scheduler with continuous batching.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
from meters import Meters
from tensors import (
    BROKEN,
    BUSY,
    FINAL,
    WRONG,
    answer,
    boolean,
    image_of,
    piece,
    refuse,
    sampling_of,
    text,
)

from vila2.engine.captioner import Captioner
from vila2.engine.requests import Request, Scoring
from vila2.engine.scheduler import QueueFull, Scheduler, ScoreTicket, Ticket

WATCH_SECONDS = 0.5


class TritonPythonModel:
    """One model: `1/checkpoint` holds its weights, `1/model.json` its options."""

    def initialize(self, args):
        here = Path(args["model_repository"]) / args["model_version"]
        options = json.loads((here / "model.json").read_text())
        device = "cpu"
        if args["model_instance_kind"] == "GPU":
            device = f"cuda:{args['model_instance_device_id']}"
        captioner = Captioner.load(
            here / "checkpoint",
            batch_size=options["batch_size"],
            device=device,
            threads=options["threads"] or None,
        )
        self.chat, self.size = captioner.chat, captioner.image_size
        self.scheduler = Scheduler(captioner, max_waiting=options["max_waiting"])
        self.open = {}  # ticket -> its response sender
        self.lock = threading.Lock()
        self.meters, self.capacity = Meters(args["model_name"]), captioner.batch_size
        self.rows = self.steps = 0
        self.ending = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.begin(request, sender)
            except QueueFull as error:
                refuse(sender, str(error), BUSY)
            except Exception as error:
                refuse(sender, str(error), WRONG)

    def begin(self, request, sender):
        """Parse and queue a request; every sender gets exactly one final response."""
        question = self.chat.question_of(text(request, "text_input"))
        pixels = np.asarray(image_of(request, self.size))
        sampling, seed, caption = sampling_of(request)
        if caption is not None:
            self.begin_score(Scoring(pixels, question, caption), sender)
            return
        asked = Request(pixels, question, seed, sampling)
        sent = [0]

        def on_text(text):
            # Bytes of an incomplete character are held back.
            if not text.endswith("\ufffd") and len(text) > sent[0]:
                sender.send(piece(text[sent[0] :]))
                sent[0] = len(text)

        def on_end(made):
            if self.take(ticket):
                tokens = made.tokens + (made.finish_reason == "stop")  # with the one that ends it
                self.meters.add(prompt_tokens_total=made.prompt_tokens, output_tokens_total=tokens)
                rest, logprob = made.text[sent[0] :], made.logprob * tokens
                last = answer(rest, made.finish_reason, logprob, tokens, made.prompt_tokens)
                sender.send(last, flags=FINAL)

        def on_error(error):
            if self.take(ticket):
                refuse(sender, f"{type(error).__name__}: {error}", BROKEN)

        streamed = on_text if boolean(request, "stream") else None
        ticket = Ticket(asked, self.chat.prompt(question), on_end, on_error, streamed)
        self.queue(ticket, sender, self.scheduler.submit)

    def begin_score(self, asked, sender):
        """Queue a caption to score; the response has no text."""

        def on_end(made):
            if self.take(ticket):
                last = answer("", "scored", made.gain * made.tokens, made.tokens, 0)
                sender.send(last, flags=FINAL)

        def on_error(error):
            if self.take(ticket):
                refuse(sender, f"{type(error).__name__}: {error}", BROKEN)

        ticket = ScoreTicket(asked, on_end, on_error)
        self.queue(ticket, sender, self.scheduler.submit_scores)

    def queue(self, ticket, sender, submit):
        with self.lock:
            self.open[ticket] = sender
        try:
            submit([ticket])
        except Exception:
            self.take(ticket)
            raise

    def take(self, ticket):
        """Close a ticket; returns whether it was still open."""
        with self.lock:
            return self.open.pop(ticket, None) is not None

    def cancelled(self):
        """Remove and return the tickets that clients have cancelled.

        Under the lock: querying a sender after its final response crashes the server.
        """
        with self.lock:
            gone = [(t, sender) for t, sender in self.open.items() if sender.is_cancelled()]
            for ticket, _ in gone:
                del self.open[ticket]
        return gone

    def watch(self):
        """Drop cancelled requests and update the load metrics."""
        while not self.ending.wait(WATCH_SECONDS):
            for ticket, sender in self.cancelled():
                ticket.cancelled = True
                sender.send(flags=FINAL)
            self.measure()

    def measure(self):
        rows, steps = self.scheduler.rows, self.scheduler.steps
        slots = (steps - self.steps) * self.capacity
        self.meters.add(rows_total=rows - self.rows, slots_total=slots)
        self.rows, self.steps = rows, steps
        running, waiting = self.scheduler.running, self.scheduler.waiting
        self.meters.set(running_requests=running, waiting_requests=waiting)

    def finalize(self):
        self.ending.set()
        self.scheduler.close()
        self.meters.close()
