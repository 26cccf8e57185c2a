"""Another Python process that compiles, while this one compiles something else."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastsl._runtime.launch import n_threads

#: Seconds that the other process has once this one is done; it begins with it and has less to compile.
PATIENCE = 60.0
#: Isolated, since a process that is given code would otherwise import what lies in the folder where it was started.
_OPTIONS = ("-I", "-B", "-c")
_SEE_WHAT_I_SEE = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1))\n"


class _Last:
    """Whether the last process did what it should: where one cannot, none that follows it can."""

    succeeded = True


def _may_be_started() -> bool:
    """Whether this process has threads to spare, and the interpreter is one: an application may have Python inside."""
    is_interpreter = Path(sys.executable or "").name.lower().startswith("python") and not hasattr(sys, "frozen")
    return n_threads() > 1 and is_interpreter and _Last.succeeded


@contextmanager
def elsewhere(code: str, *arguments: str) -> Iterator[None]:
    """Run ``code`` in another process during the body, and wait for it, where there is a second thread for it.

    For what this process does itself if that one did not: nothing is said of whether it was started, failed or was
    ended, which it is by an exception in the body, and when it takes for ever.
    """
    process = None
    try:
        if _may_be_started():
            process = _start(code, *arguments)
        yield
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            _Last.succeeded = process.poll() == 0
    finally:
        if process is not None:
            process.kill()
            process.wait()


def _start(code: str, *arguments: str) -> "subprocess.Popen[bytes] | None":
    path = json.dumps([entry for entry in sys.path if isinstance(entry, str)])  # as Python, which passes over others
    try:
        return subprocess.Popen(
            [sys.executable, *_OPTIONS, _SEE_WHAT_I_SEE + code, path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:  # no more processes, or no memory for one
        return None
