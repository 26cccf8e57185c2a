"""Processors, threads and workers, each case in a process of its own: what is set once cannot be set again."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from fastsl._runtime.launch import max_threads

SEARCH = """
import json, os, sys, time, warnings
import numpy as np
from fastsl import search_light, sphere_neighbours
from fastsl._runtime.cpus import cpu_budget, resolve_n_jobs

rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 1000)), np.tile([0, 1], 20)
A = sphere_neighbours(np.ones((10, 10, 10)), np.eye(4), 2)

def search(n_jobs=-1, estimator="svc"):
    return search_light(X, y, estimator, A, cv=4, n_jobs=n_jobs)

def cores_of(work):
    began, used = time.perf_counter(), time.process_time()
    for _ in range(3):
        work()
    return (time.process_time() - used) / (time.perf_counter() - began)
"""
many_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors")
linux = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs an affinity mask")


def python(code, **environment):
    """Run code after :data:`SEARCH` in a new process; return its last line as JSON."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "NUMBA_NUM"))}
    done = subprocess.run(
        [sys.executable, "-c", SEARCH + textwrap.dedent(code)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


CORES = """
    search()
    print(json.dumps([resolve_n_jobs(-1), cpu_budget().decided_by, cores_of(search)]))
"""


@many_cores
@pytest.mark.parametrize("source", ["SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"])
def test_a_job_that_was_given_one_processor_uses_one(source):
    n_jobs, decided_by, cores = python(CORES, **{source: "1"})
    assert (n_jobs, decided_by) == (1, source)
    assert cores < 1.2


@linux
@many_cores
def test_a_process_that_is_bound_to_one_processor_uses_one():
    code = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})" + textwrap.dedent(CORES)
    n_jobs, decided_by, cores = python(code)
    assert (n_jobs, decided_by) == (1, "affinity mask")
    assert cores < 1.2


def test_more_threads_than_given_warn_and_compute_the_same():
    found = python(
        """
        alone = search(1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            same = bool(np.array_equal(search(2), alone))
        print(json.dumps([same, [str(one.message) for one in caught], [one.filename for one in caught]]))
        """,
        SLURM_CPUS_PER_TASK="1",
        NUMBA_NUM_THREADS="2",
    )
    assert found[0]
    assert len(found[1]) == 1
    assert found[1][0].startswith("n_jobs=2 asks for more processors than the 1 that this job may use (affinity mask: ")
    assert "SLURM_CPUS_PER_TASK: 1): its threads will wait for each other. Take n_jobs=-1, or ask" in found[1][0]


DIGEST = """
    import hashlib
    print(json.dumps(hashlib.sha256(search().tobytes()).hexdigest()))
"""


def test_the_number_of_threads_changes_no_bit():
    assert len({python(DIGEST, NUMBA_NUM_THREADS=number) for number in ("1", "2", "7")}) == 1


def test_blas_has_one_thread_in_a_search_and_its_own_before_and_after():
    found = python(
        """
        import scipy.linalg
        from threadpoolctl import threadpool_info, threadpool_limits
        from fastsl import compiled

        def blas():
            return sorted({one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"})

        seen = []
        decode = compiled.CompiledEngine.__call__
        compiled.CompiledEngine.__call__ = lambda self, block: seen.append(blas()) or decode(self, block)
        with threadpool_limits(2, user_api="blas"):
            before = blas()
            search()
            print(json.dumps([before, seen[0], blas()]))
        """
    )
    if found[0] != [2]:
        pytest.skip("this BLAS has one thread only")
    assert found == [[2], [1], [2]]


WORKERS = """
    import joblib

    def work(seed):
        return search(-1), resolve_n_jobs(-1, numba.config.NUMBA_NUM_THREADS), os.getpid()

    import numba
    alone = search(1)
    found = joblib.Parallel(n_jobs=2, backend={backend!r})(joblib.delayed(work)(seed) for seed in range(4))
    same = all(np.array_equal(scores, alone) for scores, _, _ in found)
    print(json.dumps([same, sorted({{n for _, n, _ in found}}), os.getpid() in {{pid for _, _, pid in found}}]))
"""


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_inside_a_joblib_worker(backend):
    same, n_jobs, here = python(WORKERS.format(backend=backend))
    assert same
    assert here == (backend != "loky")
    if backend == "loky":
        # joblib tells its workers how many threads each may have, so that together they are not too many.
        assert n_jobs == [max(1, len(os.sched_getaffinity(0)) // 2)] if hasattr(os, "sched_getaffinity") else n_jobs


def test_the_general_path_inside_a_joblib_worker():
    assert python(
        """
        import joblib
        from sklearn.naive_bayes import BernoulliNB
        few = A.block(0, 20)

        def work():
            return search_light(X, y, BernoulliNB(), few, cv=4, n_jobs=2)

        alone = search_light(X, y, BernoulliNB(), few, cv=4, n_jobs=1)
        found = joblib.Parallel(n_jobs=2)(joblib.delayed(work)() for _ in range(2))
        print(json.dumps(all(np.array_equal(scores, alone) for scores in found)))
        """
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_pool_after_use_finds_the_same():
    assert python(
        """
        import multiprocessing
        alone = search()
        warnings.simplefilter("ignore")  # of forking with threads

        def work(_):
            return search()

        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(json.dumps(all(np.array_equal(found, alone) for found in pool.map(work, range(4)))))
        """
    )


def test_info_explains_what_all_processors_means():
    found = subprocess.run(
        [sys.executable, "-m", "fastsl", "info"],
        env={**os.environ, "SLURM_CPUS_PER_TASK": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "n_jobs=-1 uses 1 threads here, decided by: " in found
    assert "SLURM_CPUS_PER_TASK: 1" in found
    assert f"The machine has {os.cpu_count()} processors; NUMBA_NUM_THREADS is {max_threads()}." in found
