"""Helpers as parts of the kernels that call them, and the collector that stands still while they are compiled."""

import gc
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numba
import numpy as np
import pytest
from numba.core import event

from fastsl._runtime import parts
from fastsl._runtime.collector import stopped_collector
from fastsl._runtime.jit import helper, kernel

OPTIONS = {"nogil": True, "error_model": "numpy"}
KNOWN = parts.KNOWN[0] <= numba.version_info.short <= parts.KNOWN[1]
compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
in_parts = pytest.mark.skipif(numba.config.DISABLE_JIT or not KNOWN, reason="this Numba compiles no parts")


def make_functions(make_part):
    """Three layers, of which the lowest is called with two types."""

    @make_part
    def at(values, i):
        if i == 13:
            raise ValueError("unlucky")
        return values[i]

    @make_part
    def add(values, weights, i):
        room = np.empty(i + 1)
        room[i] = at(values, i)
        return room[i] + at(weights, i)

    @numba.njit(**OPTIONS)
    def total(values, weights, n):
        result = 0.0
        for i in range(n):
            result += add(values, weights, i)
        return result

    return at, add, total


VALUES, WEIGHTS = np.arange(20.0) / 3.0, np.arange(20, dtype=np.float32)


def as_part(function):
    return parts.as_part(function, **OPTIONS)


def test_parts_compute_what_python_does():
    _, _, total = make_functions(as_part)
    assert total(VALUES, WEIGHTS, 12) == sum(VALUES[i] + WEIGHTS[i] for i in range(12))


@in_parts
def test_a_part_is_compiled_for_python_only_when_python_calls_it():
    at, add, total = make_functions(as_part)
    total(VALUES, WEIGHTS, 2)
    assert not at.overloads
    assert not add.overloads
    assert add(VALUES, WEIGHTS, 3) == 4.0
    assert len(add.overloads) == 1
    assert not at.overloads
    assert total(VALUES, WEIGHTS, 4) == 8.0  # the kernel stays what it was
    assert at(WEIGHTS, 7) == 7.0


@in_parts
def test_a_number_that_is_written_in_a_call_has_no_part_of_its_own():
    @as_part
    def times(value, factor):
        return value * factor

    @numba.njit(**OPTIONS)
    def total(values):
        result = 0.0
        for i in range(values.shape[0]):
            result += times(values[i], 2) + times(values[i], factor=4) + times(values[i], i)
        return result

    with event.install_recorder("numba:compile") as recorder:
        assert total(np.arange(2.0)) == 7.0
    began = [seen.data["dispatcher"].py_func for _, seen in recorder.buffer if seen.is_start]
    assert began.count(times.py_func) == 1


@compiled
def test_what_a_part_raises_arrives():
    at, add, total = make_functions(as_part)
    for call in (lambda: total(VALUES, WEIGHTS, 20), lambda: add(VALUES, WEIGHTS, 13), lambda: at(VALUES, 13)):
        with pytest.raises(ValueError, match="unlucky"):
            call()


PRINTS_AND_RAISES = """
import numpy as np

from fastsl._runtime.jit import helper, kernel


@helper
def check(x):
    if x > 2.0:
        print("at", x)
        raise ValueError("too large", x)
    return x


@kernel
def total(values):
    result = 0.0
    for x in values:
        result += check(x)
    return result


@kernel
def twice(values):
    return total(values) + check(values[0])


for sum_up in (total, twice, check):
    try:
        sum_up(5.0 if sum_up is check else np.arange(5.0))
    except ValueError as error:
        print(error.args)
"""


@compiled
def test_parts_print_and_raise_values_of_run_time(tmp_path):
    script = tmp_path / "prints_and_raises.py"
    script.write_text(PRINTS_AND_RAISES)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in ("compiled", "from the cache"):
        done = subprocess.run(
            [sys.executable, script], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        expected = [f"at {x}\n('too large', {x})\n" for x in (3.0, 3.0, 5.0)]
        assert done.stdout == "".join(expected), done.stderr


@pytest.mark.skipif(not numba.config.BOUNDSCHECK, reason="indices are not checked")
def test_indices_of_parts_are_checked():
    _, _, total = make_functions(as_part)
    with pytest.raises(IndexError, match="out of bounds"):
        total(VALUES[:5], WEIGHTS, 6)


@in_parts
@pytest.mark.parametrize("make_part", [as_part, helper])
def test_kernels_are_made_of_parts(monkeypatch, make_part):
    linked = []

    def note(part):
        linked.append(part.name)
        finalize(part)

    finalize = parts._Part._finalize_final_module
    monkeypatch.setattr(parts._Part, "_finalize_final_module", note)
    at, add, total = make_functions(make_part)
    assert total(VALUES, WEIGHTS, 4) == 8.0
    assert [name.split(".")[-1] for name in linked] == ["at", "at", "add"]
    assert not at.overloads
    assert not add.overloads


@compiled
@pytest.mark.parametrize("version", [(0, 61), (parts.KNOWN[1][0], parts.KNOWN[1][1] + 1), (1, 0)])
def test_other_versions_of_numba_compile_helpers_as_they_do(monkeypatch, version):
    monkeypatch.setattr(numba, "version_info", SimpleNamespace(short=version))
    at, add, total = make_functions(as_part)
    assert total(VALUES, WEIGHTS, 4) == 8.0
    assert len(at.overloads) == 2
    assert len(add.overloads) == 1


@pytest.fixture
def collections():
    """How often the collector went over objects."""
    seen = []

    def note(phase, info):
        seen.append(phase)

    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


@compiled
def test_nothing_is_collected_while_a_kernel_is_compiled(collections):
    @helper
    def half(x):
        return 0.5 * x

    @kernel
    def halve(values):
        for i in range(len(values)):
            values[i] = half(values[i])

    values = np.full(3, 4.0)
    gc.collect()
    collections.clear()
    halve.compile((numba.float64[::1],))
    assert len(collections) <= 2, "start and stop of one, when the collector may again"
    assert gc.isenabled()
    halve(values)
    assert values.tolist() == [2.0] * 3
    assert len(halve.signatures) == 1


def test_the_collector_goes_on_after_an_error():
    @stopped_collector()
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert gc.isenabled()


def test_a_collector_that_somebody_stopped_stays_so():
    gc.disable()
    try:
        with stopped_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_last_of_several_threads_lets_it_go_on():
    entered, leave = threading.Event(), threading.Event()

    def compile_long():
        with stopped_collector():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=compile_long)
    with stopped_collector():
        thread.start()
        assert entered.wait(10)
    assert not gc.isenabled()
    leave.set()
    thread.join()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_meanwhile_collects():
    with stopped_collector():
        child = os.fork()
        if child == 0:
            with stopped_collector():
                stopped = not gc.isenabled()
            os._exit(0 if stopped and gc.isenabled() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not gc.isenabled()
    assert gc.isenabled()
