"""Runs in vLLM's environment: greedy answers of stock vLLM, and the likelihood of given ones.

    offline.py ASKED ANSWERED

ASKED is {"model", "images": PNG files, "prompt": token ids with one image token, "answers": token
ids, one list an image, "new_tokens"}. ANSWERED holds, for each image, the prompt's ids as vLLM
expanded them, the answer's ids, and the mean NLL of the given answer in nats.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def main(given: Path, made: Path) -> None:
    from PIL import Image
    from vllm import LLM, SamplingParams, TokensPrompt

    asked: dict[str, Any] = json.loads(given.read_text())
    engine = LLM(
        model=asked["model"],
        model_impl="transformers",
        dtype="float32",
        max_model_len=asked["max_model_len"],
        max_num_seqs=16,
        enforce_eager=True,
        gpu_memory_utilization=0.1,
        limit_mm_per_prompt={"image": 1},
        mm_processor_cache_gb=0,
        enable_prefix_caching=False,
    )
    images = [Image.open(file).convert("RGB") for file in asked["images"]]

    def prompts(ends: list[list[int]]) -> list[TokensPrompt]:
        return [
            TokensPrompt(
                prompt_token_ids=[*asked["prompt"], *end], multi_modal_data={"image": image}
            )
            for image, end in zip(images, ends, strict=True)
        ]

    greedy = SamplingParams(temperature=0, max_tokens=asked["new_tokens"], logprobs=0)
    answers = engine.generate(prompts([[]] * len(images)), greedy)
    teacher = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
    scored = engine.generate(prompts(asked["answers"]), teacher)
    rows = []
    for answer, score, wanted in zip(answers, scored, asked["answers"], strict=True):
        last = score.prompt_logprobs[-len(wanted) :]
        likely = [place[token].logprob for place, token in zip(last, wanted, strict=True)]
        rows.append(
            {
                "prompt": list(answer.prompt_token_ids),
                "answer": list(answer.outputs[0].token_ids),
                "logprob": answer.outputs[0].cumulative_logprob,
                "nll": -sum(likely) / len(likely),
            }
        )
    made.write_text(json.dumps(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    # Threads of torch's may abort a process that ends as others do.
    os._exit(0)
