"""Command line and environment of `lmms-eval` for a model of this platform. Pure.

lmms-eval (MIT, PyPI) has hundreds of tasks, and needs a separate environment: its pins
conflict with ours. It calls the model through the OpenAI-compatible API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vila2.client.http import authority, is_loopback

# All variables from which lmms-eval and its tasks read the API's address. Many tasks with a judge
# default to api.openai.com if one of them is unset: the key must not be sent there.
_ADDRESSES = ("OPENAI_API_BASE", "OPENAI_BASE_URL")
_WHOLE_ADDRESS = "OPENAI_API_URL"
_OURS = "VILA2_"


def lmms_arguments(
    python: str,
    model: str,
    tasks: Sequence[str],
    output: Path,
    *,
    limit: int = 0,
    concurrency: int = 4,
    include: Path | None = None,
) -> list[str]:
    """The command line: it has the model and the tasks, but neither address nor key.

    `include` is a folder with custom task files.

    Greedy decoding with the whole distribution kept, since some tasks ask for `top_p: 0`, which
    the interface refuses.
    """
    options = f"model_version={model},timeout=600,max_retries=3,num_concurrent={concurrency}"
    return [
        python, "-m", "lmms_eval",
        "--model", "openai",
        "--model_args", options,
        "--tasks", ",".join(tasks),
        "--gen_kwargs", "temperature=0,top_p=1",
        "--batch_size", "1",
        "--log_samples",
        "--output_path", str(output),
        *(["--limit", str(limit)] if limit else []),
        *(["--include_path", str(include)] if include else []),
    ]  # fmt: skip


def lmms_environment(outer: Mapping[str, str], url: str, key: str) -> dict[str, str]:
    """The program's environment: the caller's, with the model's address and key, but no
    other variables of this platform. A platform on loopback is called without any proxy.
    """
    kept = {name: value for name, value in outer.items() if not name.startswith(_OURS)}
    if is_loopback(url):
        direct = ",".join(filter(None, (outer.get("NO_PROXY", ""), authority(url))))
        kept |= {"NO_PROXY": direct, "no_proxy": direct}
    return {**kept, **lmms_addresses(url), "OPENAI_API_KEY": key}


def lmms_addresses(url: str) -> dict[str, str]:
    """The variables with the model's address."""
    base = f"{url.rstrip('/')}/caption/v1"
    return {**dict.fromkeys(_ADDRESSES, base), _WHOLE_ADDRESS: f"{base}/chat/completions"}
