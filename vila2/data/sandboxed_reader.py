"""Reading strangers' files in a process of their own, with bounds on memory and processor time.

Parsers of rich formats are large programs in C++: a hostile file may make one crash or take all
memory. Here that ends a child, and the service goes on with a clear error. The child writes the
samples as a tar of raw samples to its standard output.

    python -m vila2.data.sandboxed_reader FORMAT PATH OPTIONS-AS-JSON
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, cast

from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.sample import RawSample
from vila2.data.shards import read_raw_shard, write_raw_shard

MEMORY_BYTES = 6 * 1024**3  # of addresses, of which the libraries alone map some two
CPU_SECONDS = 24 * 3600
_TOLD = 3  # exit status of an error that the child could name
_ANY_NUMBER = 1 << 62


def read_apart(format: str, path: Path, options: ReadOptions) -> Iterator[RawSample]:
    """Read as `open_reader(format, path, options).read()` would, in a child.

    For `urls` the samples have no images yet: `source` is the address to fetch. Raises
    `DataError` as the reader does, or where the child was ended by its bounds.
    """
    command = [sys.executable, "-m", "vila2.data.sandboxed_reader", format, str(path)]
    # The child needs its libraries, and none of the secrets in the environment.
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG", "TMPDIR")}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [*command, json.dumps(asdict(options))],
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**kept, "OMP_NUM_THREADS": "1"},
        )
        assert child.stdout is not None
        broken: DataError | None = None
        try:
            yield from read_raw_shard(cast("BinaryIO", child.stdout), limit=_ANY_NUMBER)
        except DataError as error:
            broken = error  # the child died in the middle: its own words come first
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


def _samples(format: str, path: Path, options: ReadOptions) -> Iterable[RawSample]:
    if format == "urls":
        from vila2.data.readers.urls import UrlListReader

        for row in UrlListReader(path, options).rows():
            yield RawSample(row.key, row.url, None, row.caption, problem=row.problem)
        return
    yield from open_reader(format, path, options).read()


def main() -> None:
    """Write the samples of the named file to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    format, path, options = sys.argv[1:4]
    try:
        samples = _samples(format, Path(path), ReadOptions(**json.loads(options)))
        write_raw_shard(samples, sys.stdout.buffer)
        sys.stdout.flush()
    except DataError as error:
        told = {"message": error.message, "file": Path(error.file).name if error.file else ""}
        sys.stderr.write(json.dumps({**told, "field": error.field, "fix": error.fix}))
        sys.exit(_TOLD)


if __name__ == "__main__":
    main()
