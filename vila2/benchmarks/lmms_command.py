"""How `lmms-eval` is asked to evaluate a model of this platform. Pure.

lmms-eval (MIT, PyPI) has hundreds of tasks, and an environment of its own: its pins do not
resolve beside ours. It reaches the model as any application does, by the OpenAI-compatible
interface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from vila2.client.http import authority, is_loopback

# All names under which lmms-eval and its tasks look for an address to send the key to. Many tasks
# with a judge take api.openai.com where one of them is missing: the key must not go there.
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
    """The command line: it names the model and the tasks, and holds neither address nor key.

    `include` is a folder with task files of one's own.

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
    """The program's environment: the caller's, with the model's address and key, and nothing else
    of this platform's. A platform on loopback is asked directly, whatever proxy the shell names.
    """
    kept = {name: value for name, value in outer.items() if not name.startswith(_OURS)}
    if is_loopback(url):
        direct = ",".join(filter(None, (outer.get("NO_PROXY", ""), authority(url))))
        kept |= {"NO_PROXY": direct, "no_proxy": direct}
    return {**kept, **lmms_addresses(url), "OPENAI_API_KEY": key}


def lmms_addresses(url: str) -> dict[str, str]:
    """The variables that say where the model answers."""
    base = f"{url.rstrip('/')}/caption/v1"
    return {**dict.fromkeys(_ADDRESSES, base), _WHOLE_ADDRESS: f"{base}/chat/completions"}
