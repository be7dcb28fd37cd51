"""How a process that measures behaves: its thread pools, its output, its end."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SETTLED = {
    # NumPy's BLAS: the voice multiplies small matrices, where a second thread costs more than it brings.
    # Not MKL_NUM_THREADS: that would hold CTranslate2's matrix products to one thread, too.
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GOMP_SPINCOUNT": "10000",  # a pool that waits must not burn a core
}
"""Thread variables as this program sets them, where the user's environment does not."""


def settle() -> None:
    """Make this process fit for measuring: thread pools pinned, unless the user's environment says otherwise.

    Call it before the libraries that own the pools are imported.
    """
    for name, value in SETTLED.items():
        os.environ.setdefault(name, value)
    # Token callbacks and the voice share the interpreter: at the default of 5 ms one waits for the other.
    sys.setswitchinterval(0.0001)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that it lacks costs no report
            stream.reconfigure(errors="backslashreplace")


def peak_memory_bytes() -> int | None:
    """The most memory this process has held at once (resident set); None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def reader_may_go() -> Iterator[None]:
    """`| head -1`: when nobody reads standard output any more, the rest is dropped without a word."""
    try:
        yield
        if sys.stdout:  # None when it was closed from the start
            sys.stdout.flush()
    except BrokenPipeError:
        drop_output()


def drop_output() -> None:
    """Send the rest of standard output nowhere, what is buffered included."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(status: int) -> None:
    """End the process, also while an engine hangs on a thread that the interpreter would wait for."""
    with reader_may_go():  # what is left to say
        pass
    if threading.active_count() > 1:  # executors are joined at exit, daemons or not
        if sys.stderr:
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
