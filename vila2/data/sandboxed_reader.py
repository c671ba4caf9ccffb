"""Parses untrusted files in a sandboxed subprocess with limits on memory and CPU time.

Parsers of rich formats are large programs in C++: a hostile file may crash one or exhaust
memory. Here that ends only the subprocess, and the service reports a clear error. The subprocess
writes a tar of raw samples to its standard output.

    python -m vila2.data.sandboxed_reader FORMAT PATH OPTIONS-AS-JSON CPU-SECONDS
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO, cast

from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.readers.allowance import Bounds, Meter, OverAllowance
from vila2.data.sample import RawSample
from vila2.data.shards import read_raw_shard, write_raw_shard

MEMORY_BYTES = 6 * 1024**3  # of address space, of which the libraries alone map about 2 GiB
_TOLD = 3  # exit status of an error that the child reported itself
_ANY_NUMBER = 1 << 62
_BOUNDS = Bounds()


def read_apart(
    format: str, path: Path, options: ReadOptions, bounds: Bounds = _BOUNDS
) -> Iterator[RawSample]:
    """Like `open_reader(format, path, options).read()`, in a subprocess.

    For `urls` the samples have no images yet: `source` is the address to fetch. For `captions`
    they are rows of given captions, many in the `items` of each. Raises `DataError` as the reader
    does, or if the subprocess exceeded its limits; `OverAllowance` if it yields more than `bounds`
    allow for the size of `path`.
    """
    allowance = bounds.of(_bytes_below(path))
    meter = Meter(allowance, path.name)
    command = [sys.executable, "-m", "vila2.data.sandboxed_reader", format, str(path)]
    # Only these variables are passed on: the environment may contain secrets.
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG", "TMPDIR")}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [*command, json.dumps(asdict(options)), str(allowance.cpu_seconds)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**kept, "OMP_NUM_THREADS": "1"},
        )
        assert child.stdout is not None
        broken: DataError | None = None
        try:
            # Tars bound their members by themselves; here the allowance does.
            for raw in read_raw_shard(cast("BinaryIO", child.stdout), limit=_ANY_NUMBER):
                meter.add(raw)
                yield raw
        except OverAllowance:
            child.kill()
            raise
        except DataError as error:
            broken = error  # the child died midway: its own error message has precedence
        except GeneratorExit:
            child.kill()
            raise
        finally:
            child.stdout.close()
            status = child.wait()
        errors.seek(0)
        if status == _TOLD:
            raise DataError(**json.loads(errors.read()))
        if status or broken is not None:
            last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            raise DataError(
                f"could not be read: its reader ended ({(last or [f'status {status}'])[0][:300]})",
                file=path.name,
                fix="The file is damaged or asks for too much memory; write it again",
            )


def _bytes_below(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _samples(format: str, path: Path, options: ReadOptions) -> Iterable[RawSample]:
    if format == "urls":
        from vila2.data.readers.urls import UrlListReader

        for row in UrlListReader(path, options).rows():
            yield RawSample(
                row.key, row.url, None, row.caption, problem=row.problem, source_ids=row.ids
            )
        return
    if format == "captions":
        from vila2.data.given_captions.upload import batches

        yield from batches(path)
        return
    for raw in open_reader(format, path, options).read():
        # Where the files lie here is no matter of those who sent them.
        yield replace(raw, problem=(raw.problem or "").replace(f"{path}/", "") or None)


def main() -> None:
    """Write the samples of the named file to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    format, path, options, seconds = sys.argv[1:5]
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
    try:
        samples = _samples(format, Path(path), ReadOptions(**json.loads(options)))
        write_raw_shard(samples, sys.stdout.buffer)
        sys.stdout.flush()
    except DataError as error:
        told = {
            "message": error.message.replace(f"{path}/", ""),
            "file": Path(error.file).name if error.file else "",
        }
        sys.stderr.write(json.dumps({**told, "field": error.field, "fix": error.fix}))
        sys.exit(_TOLD)


if __name__ == "__main__":
    main()
