"""Routines that another process compiles while this one compiles the kernel that calls them."""

import os
import subprocess
import sys
import time

import numba
import pytest

from fastsl._runtime import elsewhere as module
from fastsl._runtime.elsewhere import elsewhere
from fastsl._runtime.launch import kernel_threads

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
WRITE = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
#: Says who it is, and goes on for longer than anybody waits.
SLEEP = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(600)"


def wait_for(path):
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return int(path.read_text())


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


@pytest.mark.parametrize("executable", ["", None, "/opt/Viewer/viewer", "/nowhere/python3"])
def test_none_is_started_where_the_interpreter_is_none(tmp_path, monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    reached = False
    with kernel_threads(2), elsewhere(WRITE, str(tmp_path / "written"), "text"):
        reached = True
    assert reached
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
    started.append(command)
    start(self, command if FOUND else ["/nowhere/python"], **options)


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
