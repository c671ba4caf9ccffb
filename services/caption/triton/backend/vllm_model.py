"""vLLM's engine as a model of Triton's Python backend. It runs in Triton's process.

Prompts are token ids that the library's chat format makes, so no token is doubled and markup in a
question stays text. vLLM computes in a process of its own; if that ends, requests are answered
with an error that tells the client to load the model anew.
"""

from __future__ import annotations

import locale
import os

# Triton starts Python in the C locale, in which vLLM's imports cannot read their own sources.
locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

import asyncio
import json
import threading
from itertools import count
from pathlib import Path

import vllm
from meters import CACHE, METRICS, Meters
from PIL import Image
from safetensors.torch import load_file
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
from vllm import SamplingParams, TokensPrompt
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs.llm import EmbedsPrompt
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.metrics.loggers import StatLoggerBase

from vila2.engine.requests import GREY, REFERENCE_FILE
from vila2.model.chat import IMAGE, load_chat
from vila2.triton.vllm_sizes import VLLM_VERSION, engine_arguments, image_size, this_machine

WATCH_SECONDS = 0.5


class TritonPythonModel:
    """One model: `1/checkpoint` holds its weights, `1/model.json` its options."""

    def initialize(self, args):
        if not vllm.__version__.startswith(VLLM_VERSION):
            raise ValueError(f"this is vLLM {vllm.__version__}: install {VLLM_VERSION}")
        here = Path(args["model_repository"]) / args["model_version"]
        options, checkpoint = json.loads((here / "model.json").read_text()), here / "checkpoint"
        # vLLM replaces one image token by as many as an image takes.
        self.chat = load_chat(checkpoint, image_tokens=1)
        self.image_id = self.chat.tokenizer.convert_tokens_to_ids(IMAGE)
        self.size = image_size(checkpoint)
        self.reference = self.read_reference(checkpoint)
        given = engine_arguments(checkpoint, options, this_machine())
        self.most = given["max_num_seqs"] + options["max_waiting"]
        self.meters = Meters(args["model_name"], METRICS + CACHE)
        self.open = {}  # request's number -> (its response sender, its task)
        self.lock, self.numbers = threading.Lock(), count()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.engine = self.run(self.start(given)).result()
        self.ending = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def read_reference(self, checkpoint):
        """What a caption is scored against: the model's stored embedding, else a grey image."""
        if (checkpoint / REFERENCE_FILE).is_file():
            return load_file(checkpoint / REFERENCE_FILE)["embedding"]
        return Image.new("RGB", (self.size, self.size), (GREY, GREY, GREY))

    async def start(self, given):
        def loggers(config, index=0):
            return EngineMeters(self.meters, given["max_num_seqs"])

        return AsyncLLM.from_engine_args(AsyncEngineArgs(**given), stat_loggers=[loggers])

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            try:
                self.begin(request, sender)
            except Exception as error:
                refuse(sender, str(error), WRONG)

    def begin(self, request, sender):
        """Parse and start a request; every sender gets exactly one final response."""
        question = self.chat.question_of(text(request, "text_input"))
        image = image_of(request, self.size)
        sampling, seed, caption = sampling_of(request)
        number = next(self.numbers)
        if caption is None:
            work = self.generate(number, sender, question, image, sampling, seed,
                                 boolean(request, "stream"))  # fmt: skip
        else:
            work = self.score(sender, question, image, caption)
        with self.lock:
            if len(self.open) >= self.most:
                work.close()
                refuse(sender, f"{self.most} requests: exceeds maximum queue size", BUSY)
                return
            self.open[number] = (sender, self.run(self.answered(number, sender, work)))

    async def answered(self, number, sender, work):
        """Do the work, and send its last response unless the request was cancelled."""
        try:
            last = await work
        except EngineDeadError as error:
            if self.take(number):
                refuse(sender, f"vLLM's process ended: the model is not healthy ({error})", BROKEN)
        except Exception as error:
            if self.take(number):
                reason = error.__cause__ or error  # vLLM wraps it without its words
                refuse(sender, f"{type(reason).__name__}: {reason}", BROKEN)
        else:
            if self.take(number):
                sender.send(last, flags=FINAL)

    async def generate(self, number, sender, question, image, sampling, seed, stream):
        asked = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed % 2**63,
            stop_token_ids=[self.chat.eos_id],
            # It sums log-probabilities only if some are asked for.
            logprobs=0,
            output_kind=RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY,
        )
        prompt = shows(self.chat.prompt(question), image, self.image_id)
        ids, sent = [], ""
        async for output in self.engine.generate(prompt, asked, str(number)):
            (made,) = output.outputs
            ids += made.token_ids
            more = made.text if sent else made.text.lstrip()
            if stream and more and not made.finish_reason:
                self.send(number, sender, more)
                sent += more
        # vLLM streams no bytes of a character that is never completed; the whole text has them.
        rest = self.chat.decode(ids).removeprefix(sent)
        read = len(output.prompt_token_ids)
        return answer(rest, made.finish_reason, made.cumulative_logprob, len(ids), read)

    async def score(self, sender, question, image, caption):
        """How much likelier the image makes the caption than the reference, in nats."""
        answered = [*self.chat.text_ids(caption), self.chat.eos_id]
        ids = [*self.chat.prompt(question), *answered]
        prompts = [shows(ids, shown, self.image_id) for shown in (image, self.reference)]
        given, referred = await asyncio.gather(*(self.likelihood(p, answered) for p in prompts))
        return answer("", "scored", given - referred, len(answered), 0)

    async def likelihood(self, prompt, answered):
        """Log-probability of the ids at the prompt's end, summed."""
        asked = SamplingParams(
            temperature=0, max_tokens=1, prompt_logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        async for output in self.engine.generate(prompt, asked, f"s{next(self.numbers)}"):
            places = output.prompt_logprobs[-len(answered) :]
        return sum(at[token].logprob for at, token in zip(places, answered, strict=True))

    def send(self, number, sender, text):
        with self.lock:
            if number in self.open:
                sender.send(piece(text))

    def take(self, number):
        """Close a request; returns whether it was still open."""
        with self.lock:
            return self.open.pop(number, None) is not None

    def watch(self):
        """Drop cancelled requests.

        Under the lock: querying a sender after its final response crashes the server.
        """
        while not self.ending.wait(WATCH_SECONDS):
            with self.lock:
                gone = [n for n, (sender, _) in self.open.items() if sender.is_cancelled()]
                cancelled = [self.open.pop(number) for number in gone]
            for sender, task in cancelled:
                task.cancel()  # vLLM then leaves the request out of its batch
                sender.send(flags=FINAL)

    def finalize(self):
        self.ending.set()
        self.engine.shutdown()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.meters.close()


def shows(ids, shown, image_id):
    """A prompt with an image, or with the embedding (tokens, hidden) of one."""
    if isinstance(shown, Image.Image):
        return TokensPrompt(prompt_token_ids=ids, multi_modal_data={"image": shown})
    start, count = ids.index(image_id), len(shown)
    after = ids[start + 1 :]
    rows = shown.new_zeros(start + count + len(after), shown.shape[1])
    rows[start : start + count] = shown
    return EmbedsPrompt(
        prompt_embeds=rows,
        prompt_token_ids=[*ids[:start], *[image_id] * count, *after],
        prompt_is_token_ids=[True] * start + [False] * count + [True] * len(after),
    )


class EngineMeters(StatLoggerBase):
    """Passes on what vLLM counts in each step of its scheduler."""

    def __init__(self, meters, capacity):
        self.meters, self.capacity = meters, capacity

    def record(self, scheduler_stats, iteration_stats, mm_cache_stats=None, engine_idx=0):
        if scheduler_stats is not None:
            running = scheduler_stats.num_running_reqs
            self.meters.set(
                running_requests=running,
                waiting_requests=scheduler_stats.num_waiting_reqs,
                kv_cache_usage_ratio=scheduler_stats.kv_cache_usage,
            )
            self.meters.add(rows_total=running, slots_total=self.capacity if running else 0)
        if iteration_stats is not None:
            self.meters.add(
                prompt_tokens_total=iteration_stats.num_prompt_tokens,
                output_tokens_total=iteration_stats.num_generation_tokens,
                preemptions_total=iteration_stats.num_preempted_reqs,
            )

    def log_engine_initialized(self):
        """Nothing: the options are known."""
