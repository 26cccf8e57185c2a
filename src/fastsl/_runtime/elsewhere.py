"""Another Python process that compiles, while this one compiles something else."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastsl._runtime.launch import n_threads

#: Seconds that the other process has once this one is done; it begins with it and has less to compile.
PATIENCE = 60.0


def _may_be_started() -> bool:
    """Whether this process has threads to spare, and the interpreter is one: an application may have Python inside."""
    return n_threads() > 1 and Path(sys.executable or "").name.lower().startswith("python")


@contextmanager
def elsewhere(code: str, *arguments: str) -> Iterator[None]:
    """Run ``code`` in another process during the body, and wait for it, where there is a second thread for it.

    For what this process does itself if that one did not: nothing is said of whether it was started, failed or was
    ended, which it is by an exception in the body, and when it takes for ever.
    """
    process = None
    if _may_be_started():
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with contextlib.suppress(OSError):  # no more processes, or no memory for one
            process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
    if process is None:
        yield
        return
    try:
        yield
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
