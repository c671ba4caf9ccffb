"""Triton's Python backend for a captioner. It runs in Triton's process, not in a service.

Requests of all clients go to one scheduler with continuous batching. The tensors are those of the
vLLM backend. This file is copied into every model's folder in the repository and runs the library's
captioner.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils
from PIL import Image

from vila2.engine.captioner import Captioner
from vila2.engine.requests import Generation, Request, Scoring
from vila2.engine.scheduler import QueueFull, Scheduler, ScoreTicket, Ticket
from vila2.schemas.sampling import Sampling

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
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
        self.meters = Meters(args["model_name"], captioner.batch_size)
        self.ending = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.begin(request, sender)
            except QueueFull as error:
                refuse(sender, str(error), pb_utils.TritonError.UNAVAILABLE)
            except Exception as error:
                refuse(sender, str(error), pb_utils.TritonError.INVALID_ARG)

    def begin(self, request, sender):
        """Parse and queue a request; every sender gets exactly one final response."""
        asked = self.read(request)
        if isinstance(asked, Scoring):
            self.begin_score(asked, sender)
            return
        prompt = self.chat.prompt(asked.question)
        stream = boolean(request, "stream")
        sent = [0]

        def on_text(text):
            # Bytes of an incomplete character are held back.
            if not text.endswith("\ufffd") and len(text) > sent[0]:
                sender.send(pb_utils.InferenceResponse([strings("text_output", text[sent[0] :])]))
                sent[0] = len(text)

        def on_end(made):
            if self.take(ticket):
                self.meters.ended(made)
                sender.send(answer(made, text=made.text[sent[0] :]), flags=FINAL)

        def on_error(error):
            if self.take(ticket):
                refuse(sender, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)

        ticket = Ticket(asked, prompt, on_end, on_error, on_text if stream else None)
        self.queue(ticket, sender, self.scheduler.submit)

    def begin_score(self, asked, sender):
        """Queue a caption to score; the response has no text."""

        def on_end(made):
            if self.take(ticket):
                sender.send(tensors("", "scored", made.gain, made.tokens, 0), flags=FINAL)

        def on_error(error):
            if self.take(ticket):
                refuse(sender, f"{type(error).__name__}: {error}", pb_utils.TritonError.INTERNAL)

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

    def read(self, request):
        """Parse a captioner request; raises ValueError with the reason."""
        question = self.chat.question_of(text(request, "text_input"))
        with Image.open(io.BytesIO(base64.b64decode(text(request, "image")))) as image:
            pixels = np.asarray(image.convert("RGB"))
        if pixels.shape != (self.size, self.size, 3):
            raise ValueError(f"image: it is {pixels.shape}, this model wants {self.size} pixels")
        given = json.loads(text(request, "sampling_parameters") or "{}")
        if "score" in given:
            return Scoring(pixels, question, str(given["score"]))
        sampling = Sampling(
            temperature=float(given.get("temperature", 0.0)),
            top_p=float(given.get("top_p", 1.0)),
            max_new_tokens=int(given.get("max_tokens", 64)),
        )
        return Request(pixels, question, int(given.get("seed", 0)), sampling)

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
            self.meters.filled(self.scheduler)

    def finalize(self):
        self.ending.set()
        self.scheduler.close()


class Meters:
    """Counters on Triton's /metrics; keeps the families alive, as they own their metrics."""

    def __init__(self, model, capacity):
        counter, gauge = pb_utils.MetricFamily.COUNTER, pb_utils.MetricFamily.GAUGE
        self.families, self.metrics = [], {}
        for name, kind, description in (
            ("prompt_tokens_total", counter, "Tokens read, images included"),
            ("output_tokens_total", counter, "Tokens generated"),
            ("rows_total", counter, "Rows that a step of the engine worked on, summed"),
            ("slots_total", counter, "Rows that the same steps had room for, summed"),
            ("running_requests", gauge, "Rows in the engine's batch"),
            ("waiting_requests", gauge, "Requests that wait for a row"),
        ):
            family = pb_utils.MetricFamily(
                name=f"vila2_engine_{name}", description=description, kind=kind
            )
            self.families.append(family)
            self.metrics[name] = family.Metric(labels={"model": model})
        self.capacity = capacity
        self.rows = self.steps = 0

    def ended(self, made: Generation):
        self.metrics["prompt_tokens_total"].increment(made.prompt_tokens)
        self.metrics["output_tokens_total"].increment(output_tokens(made))

    def filled(self, scheduler):
        rows, steps = scheduler.rows, scheduler.steps
        self.metrics["rows_total"].increment(rows - self.rows)
        self.metrics["slots_total"].increment((steps - self.steps) * self.capacity)
        self.rows, self.steps = rows, steps
        self.metrics["running_requests"].set(scheduler.running)
        self.metrics["waiting_requests"].set(scheduler.waiting)


def answer(made, *, text):
    tokens = output_tokens(made)
    return tensors(text, made.finish_reason, made.logprob, tokens, made.prompt_tokens)


def tensors(text, finish_reason, per_token, tokens, prompt_tokens):
    return pb_utils.InferenceResponse(
        [
            strings("text_output", text),
            strings("finish_reason", finish_reason),
            pb_utils.Tensor("cumulative_logprob", np.array([per_token * tokens], np.float32)),
            pb_utils.Tensor("num_input_tokens", np.array([prompt_tokens], np.uint32)),
            pb_utils.Tensor("num_output_tokens", np.array([tokens], np.uint32)),
        ]
    )


def output_tokens(made):
    """Number of tokens as vLLM counts them, including the end-of-sequence token."""
    return made.tokens + (made.finish_reason == "stop")


def strings(name, value):
    return pb_utils.Tensor(name, np.array([value.encode()], dtype=np.object_))


def text(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return "" if tensor is None else tensor.as_numpy().reshape(-1)[0].decode()


def boolean(request, name):
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return tensor is not None and bool(tensor.as_numpy().reshape(-1)[0])


def refuse(sender, message, code):
    error = pb_utils.TritonError(message, code)
    sender.send(pb_utils.InferenceResponse(error=error), flags=FINAL)
