"""A few seconds of coverage-guided fuzzing for each reader, from small good inputs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.datasets.samples import image, tar_of
from tests.support.paths import REPOSITORY
from vila2.data.images.formats import FORMATS
from vila2.data.sample import RawSample
from vila2.data.shards import write_raw_shard

pytest.importorskip("atheris", reason="atheris has no wheel for this Python")

pytestmark = pytest.mark.full
SECONDS = 4


def upload() -> bytes:
    out = io.BytesIO()
    write_raw_shard([RawSample("a", "a.png", image(0), "a fox")], out)
    return out.getvalue()


def parquet(held: bytes | str) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"image": [held], "caption": ["a fox"]}), out)
    return out.getvalue()


TALK = [{"id": 1, "image": "a.png", "conversations": [
    {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a fox"}]}]  # fmt: skip
SEEDS = {
    "tar": [tar_of(("a.png", b"x")), tar_of(("a.png", b"x"), mode="w:gz")],
    "upload": [upload()],
    "image": [image(0, kind=kind) for kind in FORMATS if kind not in ("HEIF", "MPO")],
    "webdataset": [tar_of(("a.png", image(0)), ("a.json", b'{"caption": "a fox"}'))],
    "table": [b'image,caption\na.png,"a fox, red"\n'],
    "conversations": [json.dumps(TALK).encode(), json.dumps(TALK[0]).encode()],
    "addresses": [b'{"url": "https://example.org/a.png", "caption": "a"}\n',
                  b"url,caption\nhttps://example.org/a.png,a\n"],
    "imagefolder": [b'file_name,text\na.png,"a fox, red"\n',
                    b'{"file_name": "a.png", "text": ["a fox", "red"]}\n'],
    "parquet": [parquet(image(0)), parquet("a.png")],
}  # fmt: skip


@pytest.mark.parametrize("target", SEEDS)
def test_no_bytes_break_a_reader(target: str, tmp_path: Path) -> None:
    """It ends with samples, problems or a named error; what breaks it is shown and kept."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"{number}").write_bytes(seed)
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzz_readers", target, f"-max_total_time={SECONDS}",
         "-max_len=20000", "-rss_limit_mb=4096", f"-artifact_prefix={tmp_path}/", str(corpus)],
        capture_output=True, text=True, timeout=120,
        cwd=REPOSITORY,
    )  # fmt: skip
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
