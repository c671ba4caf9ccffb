"""Requests straight to `AsyncLLM`, for `vllm_service.py`; it runs in vLLM's environment.

    vllm_bare.py ASKED ANSWERED

ASKED is {"model", "options", "images": PNG files, "prompt": token ids, "new_tokens": one number an
image, "passes"}. ANSWERED is tokens per second of each pass.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


async def passes(asked: dict[str, Any]) -> list[float]:
    """Tokens per second of each pass."""
    from PIL import Image
    from vllm import SamplingParams, TokensPrompt
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    from vila2.triton.vllm_sizes import engine_arguments, this_machine

    given = engine_arguments(Path(asked["model"]), asked["options"], this_machine())
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**given))
    images = [Image.open(file).convert("RGB") for file in asked["images"]]

    async def one(name: str, image: Any, tokens: int) -> int:
        sampling = SamplingParams(
            temperature=0, max_tokens=tokens, ignore_eos=True, logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        prompt = TokensPrompt(prompt_token_ids=asked["prompt"], multi_modal_data={"image": image})
        async for output in engine.generate(prompt, sampling, name):
            made = len(output.outputs[0].token_ids)
        return made

    speeds = []
    for number in range(asked["passes"] + 1):  # the first is a warm-up
        began = time.monotonic()
        work = zip(images, asked["new_tokens"], strict=True)
        made = await asyncio.gather(
            *(one(f"{number}-{n}", image, tokens) for n, (image, tokens) in enumerate(work))
        )
        speeds.append(sum(made) / (time.monotonic() - began))
    engine.shutdown()  # its process would outlive this one
    return speeds[1:]


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(passes(asked))))
    os._exit(0)
