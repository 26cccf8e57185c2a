"""Routines that another process compiles while this one compiles the kernel that calls them."""

import os
import subprocess
import sys
import time

import numba
import pytest

from fastsl._kernels import named
from fastsl._runtime import elsewhere as module
from fastsl._runtime.elsewhere import elsewhere
from fastsl._runtime.launch import kernel_threads

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
#: Says who it is, and goes on for longer than anybody waits.
SLEEP = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"


def wait_for(path):
    for _ in range(6000):
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError("the process was not started in a minute")


@pytest.fixture(autouse=True)
def nothing_has_failed(monkeypatch):
    monkeypatch.setattr(module._Last, "succeeded", True)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_another_process_runs_it_where_there_is_a_second_thread(tmp_path, n_threads):
    written = tmp_path / "written"
    with kernel_threads(n_threads), elsewhere(WRITE, str(written), "text"):
        pass
    assert written.exists() == (n_threads > 1)
    assert n_threads == 1 or written.read_text() == "text"


def test_it_imports_what_this_process_can(tmp_path, monkeypatch):
    (tmp_path / "only_here.py").write_text("import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with kernel_threads(2), elsewhere("import only_here", str(tmp_path / "written")):
        pass
    assert (tmp_path / "written").read_text() == "imported"


@pytest.mark.skipif(os.name != "posix", reason="a script is no program")
@pytest.mark.parametrize(("name", "is_started"), [("python3.14", True), ("viewer", False)])
def test_none_is_started_where_an_application_has_python_inside(tmp_path, monkeypatch, name, is_started):
    program = tmp_path / name
    program.write_text("#!/bin/sh\ntouch $(dirname $0)/started\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with kernel_threads(2), elsewhere(""):
        pass
    assert (tmp_path / "started").exists() == is_started


@pytest.mark.parametrize("executable", ["", None, "/nowhere/python3"])
def test_the_body_runs_where_there_is_no_interpreter(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    reached = False
    with kernel_threads(2), elsewhere("raise SystemExit"):
        reached = True
    assert reached


def test_what_lies_in_the_working_directory_is_not_imported(tmp_path, monkeypatch):
    """Standard modules are called as scripts are: numbers.py, copy.py, select.py."""
    for name in ("json.py", "numbers.py"):
        (tmp_path / name).write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    with kernel_threads(2), elsewhere("import numbers\n" + WRITE, str(tmp_path / "written"), "text"):
        pass
    assert (tmp_path / "written").exists()


def test_entries_that_python_passes_over_are_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path, None, b"bytes", f"with{os.pathsep}another"])
    with kernel_threads(2), elsewhere(WRITE, str(tmp_path / "written"), "text"):
        pass
    assert (tmp_path / "written").exists()


@pytest.mark.parametrize("code", ["raise SystemExit('no')", SLEEP])
def test_after_one_that_could_not_none_is_started(tmp_path, monkeypatch, code):
    monkeypatch.setattr(module, "PATIENCE", 0.1 if code is SLEEP else 60.0)
    with kernel_threads(2):
        with elsewhere(code, str(tmp_path / "pid")):
            pass
        with elsewhere(WRITE, str(tmp_path / "written"), "text"):
            pass
    assert not (tmp_path / "written").exists()


def test_a_process_that_fails_says_nothing(capfd):
    with kernel_threads(2), elsewhere("raise SystemExit('no')"):
        pass
    assert capfd.readouterr() == ("", "")


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_error_ends_the_other_process(tmp_path):
    def interrupt():
        wait_for(tmp_path / "pid")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), kernel_threads(2), elsewhere(SLEEP, str(tmp_path / "pid")):
        interrupt()
    assert not is_running(wait_for(tmp_path / "pid"))


def test_a_process_that_takes_for_ever_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with kernel_threads(2), elsewhere(SLEEP, str(tmp_path / "pid")):
        assert is_running(wait_for(tmp_path / "pid"))
    assert not is_running(wait_for(tmp_path / "pid"))


#: Says how many routines were compiled by itself, and how many processes it started.
FACTORS = """
import subprocess, sys
from pathlib import Path

import numpy as np
from numba.core.ccallback import CFunc

from fastsl._kernels import matrices
from fastsl._kernels.block import Block
from fastsl._kernels.over_spheres import over_spheres
from fastsl._runtime.launch import kernel_threads

compile_c, start, made, started = CFunc._compile_uncached, subprocess.Popen.__init__, [], []


def note(self):
    made.append(self.__name__)
    return compile_c(self)


def note_start(self, command, **options):
    if any("fastsl" in str(each) for each in command):  # what is imported may start others
        started.append(command)
        command = command if FOUND else ["/nowhere/python"]
    start(self, command, **options)


CFunc._compile_uncached, subprocess.Popen.__init__ = note, note_start
n_threads, FOUND = int(sys.argv[1]), sys.argv[2] == "found"


@over_spheres
def factor(block, A, out, status):
    for b in block.order:
        R = A.copy()
        status[b] = matrices.cholesky(R, R.shape[0])
        out[b] = R


B = np.random.default_rng(0).standard_normal((40, 20))
block = Block(np.empty((0, 20), np.float32), np.empty(0), np.zeros(31, np.int64), np.empty(0, np.int32), 0.0, 0, 0)
out, status = np.zeros((30, 20, 20)), np.ones(30, np.int8)
with kernel_threads(n_threads):
    factor(block, B.T @ B, out, status)
R = np.triu(out)
np.testing.assert_allclose(R.transpose(0, 2, 1) @ R, np.broadcast_to(B.T @ B, out.shape), rtol=1e-12, atol=1e-12)
assert not status.any()
assert len(factor.__wrapped__.signatures) == 1
print(made, len(started))
"""


@compiled
@pytest.mark.parametrize(
    ("n_threads", "found", "first"),
    [(1, "found", "['_cholesky'] 0"), (2, "found", "[] 1"), (2, "not found", "['_cholesky'] 1")],
)
def test_routines_are_compiled_elsewhere_once_and_found_in_the_cache(tmp_path, n_threads, found, first):
    script = tmp_path / "factors.py"
    script.write_text(FACTORS)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    for expected in (first, "[] 0"):
        done = subprocess.run(
            [sys.executable, script, str(n_threads), found], env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == expected, done.stderr


@compiled
def test_without_a_cache_none_is_started(tmp_path):
    script = tmp_path / "factors.py"
    script.write_text(FACTORS)
    (tmp_path / "cache").write_text("a file where a folder should be")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, script, "2", "found"], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "['_cholesky'] 0", done.stderr


#: A kernel that calls what ``needed`` cannot see, compiled while it is promised, and another thread that was not told.
NOT_SEEN = """
import sys, threading

import numba
import numpy as np

from fastsl._kernels import matrices, named


@numba.njit
def factor(A):
    return matrices.cholesky(A, A.shape[0])


A = np.eye(8)
with named._promise(["fastsl_cholesky"]):
    if sys.argv[1] == "here":
        factor.compile((numba.typeof(A),))
    else:
        thread = threading.Thread(target=factor, args=(A,))
        thread.start()
        thread.join()
print(factor(A))
"""


@compiled
@pytest.mark.parametrize(("where", "said"), [("here", "fastsl_cholesky was called before it was made"), ("there", "0")])
def test_a_routine_that_was_not_made_ends_the_process_with_a_message(tmp_path, where, said):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", NOT_SEEN, where], env=environment, capture_output=True, text=True, timeout=120
    )
    assert said in done.stderr + done.stdout
    assert (done.returncode == 0) == (where == "there")


def test_a_promise_ends_with_its_block():
    with named._promise(["fastsl_cholesky"]):
        promised = named._promised.get()
    assert promised == ("fastsl_cholesky",)
    assert named._promised.get() == ()
