"""The last step of a program: end it without waiting for threads that still compute."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import NoReturn


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run `main` and exit with its status, without the interpreter's shutdown.

    A daemon thread may be inside a library's C++ code, such as a model's step after Ctrl-C. The
    shutdown ends that thread by unwinding its stack, which C++ answers with abort (python/cpython
    issue 87135); so do libraries whose own threads still live when C++ ends. So the program leaves
    once exit handlers have run and its output is written. It waits for no thread: when `main` has
    returned, nobody would use what one still computes.
    """
    try:
        status = main() or 0
    except SystemExit as ended:
        status = _status(ended)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    atexit._run_exitfuncs()
    lost = _flushed()
    os._exit(status or lost)


def _flushed() -> int:
    """Write what is buffered; 120, as the interpreter's own, if it cannot be written."""
    lost = 0
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):  # the reader is gone, or the stream is closed
            continue
        except OSError:
            lost = 120
    return lost


def _status(ended: SystemExit) -> int:
    if isinstance(ended.code, int):
        return ended.code
    if ended.code is None:
        return 0
    sys.stderr.write(f"{ended.code}\n")
    return 1
