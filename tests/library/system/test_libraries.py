"""Libraries print nothing of their own into a command's output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_SAVES = """
import sys, warnings
from vila2.system.libraries import quiet_libraries
quiet_libraries()
from transformers import LlamaConfig, LlamaForCausalLM
size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
LlamaForCausalLM(LlamaConfig(**size, vocab_size=32)).save_pretrained(sys.argv[1])
LlamaForCausalLM.from_pretrained(sys.argv[1])
warnings.warn("a warning of a library", stacklevel=1)
"""


@pytest.mark.slow
def test_bars_and_warnings_of_libraries_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """transformers writes bars for shards and weights, and warnings go to the log."""
    command = [sys.executable, "-c", _SAVES, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout + ended.stderr == ""
