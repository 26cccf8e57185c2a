"""One process at a time in a folder, on whatever machine, and folders of the dead taken over.

The lock is a file that is made with ``O_EXCL``, which network file systems keep too, where they often lose ``flock``.
It says who holds it, and its time of change is renewed while the holder lives.
"""

import contextlib
import json
import os
import platform
import tempfile
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

from fastsl.record import now

#: A holder shows a sign of life so often, and is taken for dead when it showed none for so long.
BEAT_SECONDS, DEAD_AFTER_SECONDS = 20.0, 300.0


class Lock:
    """Hold ``path`` for as long as the context lasts.

    A holder is dead when it ran on this machine and its process is gone; when it was the same job of SLURM, before
    SLURM requeued it; or when it showed no sign of life for five minutes, by the clock of the file system.

    Raises
    ------
    BlockingIOError
        When somebody who lives holds it: who, where and since when.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._token = uuid.uuid4().hex
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="fastsl-lock", daemon=True)

    def __enter__(self) -> "Lock":
        while not self._try_to_make():
            holder = read_holder(self._path)
            if holder is None:  # released a moment ago
                continue
            if is_alive(self._path, holder):
                raise BlockingIOError(
                    f"{self._what} is being computed by {who(holder)}, last sign of life "
                    f"{seconds_since(self._path):.0f} s ago. If you know that it is dead, remove {self._path}."
                )
            self._bury(holder)
        self._beating.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._beating.join()
        if self.is_ours():
            self._path.unlink(missing_ok=True)

    def is_ours(self) -> bool:
        """Whether nobody took it over, as may happen to a process that was frozen for long."""
        holder = read_holder(self._path)
        return holder is not None and holder.get("token") == self._token

    def _try_to_make(self) -> bool:
        # Written aside and linked into place, so that nobody ever reads half of it; link fails where the name exists.
        part = self._path.with_name(f".{self._path.name}.{self._token}")
        part.write_text(json.dumps({**_myself(), "token": self._token}))
        try:
            os.link(part, self._path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return self._make_without_links(part)
        finally:
            part.unlink(missing_ok=True)
        return True

    def _make_without_links(self, part: Path) -> bool:
        try:
            handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w") as file:
            file.write(part.read_text())
        return True

    def _bury(self, holder: dict[str, Any]) -> None:
        """Take a dead holder's lock away; only one of several processes that find it dead can rename it."""
        aside = self._path.with_name(f".{self._path.name}.{self._token}.dead")
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return
        if (read_holder(aside) or {}).get("token") != holder.get("token"):
            # Another process had buried it and holds a lock of its own by now, which was just taken from it.
            os.rename(aside, self._path)
            return
        aside.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(
                OSError
            ):  # a moment without the file system is no reason to die; silence is noticed
                if self.is_ours():
                    os.utime(self._path)


def read_holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lock; None: nobody."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}  # half written by a machine that died: its age tells


def who(holder: dict[str, Any]) -> str:
    """Say who holds a lock."""
    job = f", SLURM job {holder['job']}" if holder.get("job") else ""
    return f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}{job}"


def is_alive(path: Path, holder: dict[str, Any]) -> bool:
    """Whether the holder of the lock lives, as far as anybody can tell from here."""
    myself = _myself()
    if all(holder.get(name) == myself[name] for name in ("host", "processes")):
        return holder.get("started") == _started(int(holder.get("pid", 0)))
    if holder.get("job_id") and holder.get("job_id") == myself["job_id"] and holder["restart"] != myself["restart"]:
        return False
    return seconds_since(path) < DEAD_AFTER_SECONDS


def seconds_since(path: Path) -> float:
    """Seconds since a file was changed, by the clock of its file system: those of two machines may differ."""
    try:
        changed = path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock-") as clock:
            return max(0.0, os.stat(clock.name).st_mtime - changed)
    except OSError:  # somebody who may look, but not write
        return max(0.0, time.time() - changed)


def _myself() -> dict[str, Any]:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = os.environ.get("SLURM_JOB_ID", "")
    return {
        "host": platform.node(),
        "processes": _process_space(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "since": now(),
        "job": f"{array}_{task}" if array and task else job,
        "job_id": job,
        "restart": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _process_space() -> str:
    """What process numbers mean here: those of another container, or before a reboot, are other processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return ""


def _started(pid: int) -> str | None:
    """When a process started, which tells it from a later one of the same number; None: there is none."""
    try:
        # Fields are counted behind the name, which may hold anything, brackets too.
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state[0] in "ZX" else state[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError):
        return None
    try:
        os.kill(pid, 0)  # no Linux: signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return "running"
    return "running"
