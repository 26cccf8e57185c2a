"""Processors, threads, BLAS and the compile cache. What a process does once is tested in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
import scipy.linalg  # noqa: F401  scipy brings a BLAS of its own
from numba import types
from numba.core.caching import IndexDataCacheFile
from threadpoolctl import threadpool_info, threadpool_limits

import fastsl
from fastsl import sphere_neighbours
from fastsl._runtime import cpus, jit, launch
from fastsl._runtime.cpus import CpuBudget, cpu_budget, resolve_n_jobs
from fastsl._runtime.launch import in_parts, kernel_threads, max_threads
from fastsl._runtime.memory import give_back

PACKAGE = Path(fastsl.__file__).parent
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


def run_python(code, *options, **environment):
    """Run code in a new process; return it when it ended well."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)],
        env={**os.environ, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


# Processors


@pytest.fixture
def machine(monkeypatch):
    """Fake what the machine says."""

    def fake(affinity=64, quota=None, slurm=None, on_node=None, tasks=None):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(affinity)), raising=False)
        monkeypatch.setattr(cpus, "_cgroup_quota", lambda: quota)
        given = {"CPUS_PER_TASK": slurm, "CPUS_ON_NODE": on_node, "NTASKS": tasks, "TASKS_PER_NODE": tasks}
        for name, value in given.items():
            monkeypatch.delenv(f"SLURM_{name}", raising=False)
            if value is not None:
                monkeypatch.setenv(f"SLURM_{name}", value)

    return fake


@pytest.mark.parametrize(
    ("facts", "n_cpus", "decided_by"),
    [
        ({}, 64, "affinity mask"),
        ({"affinity": 3, "quota": 5, "slurm": "8"}, 3, "affinity mask"),
        ({"quota": 5, "slurm": "8"}, 5, "cgroup CPU quota"),
        ({"quota": 5, "slurm": "2"}, 2, "SLURM_CPUS_PER_TASK"),
        ({"slurm": ""}, 64, "affinity mask"),
        ({"slurm": "0"}, 64, "affinity mask"),
        ({"slurm": "many"}, 64, "affinity mask"),
        ({"slurm": "-4"}, 64, "affinity mask"),
        ({"on_node": "1"}, 1, "SLURM_CPUS_ON_NODE"),
        ({"on_node": "2", "slurm": "3"}, 3, "SLURM_CPUS_PER_TASK"),
        ({"on_node": "2", "tasks": "1"}, 2, "SLURM_CPUS_ON_NODE"),
        ({"on_node": "2", "tasks": "2"}, 64, "affinity mask"),  # the node's are not all this task's
        ({"on_node": "4", "tasks": "2(x3)"}, 64, "affinity mask"),
    ],
)
def test_the_smallest_limit_decides(machine, facts, n_cpus, decided_by):
    machine(**facts)
    budget = cpu_budget()
    assert (budget.n_cpus, budget.decided_by) == (n_cpus, decided_by)


def test_all_limits_are_reported(machine):
    machine(affinity=4, quota=3, slurm="2")
    assert cpu_budget().limits == (("affinity mask", 4), ("cgroup CPU quota", 3), ("SLURM_CPUS_PER_TASK", 2))


def test_without_an_affinity_mask_the_machine_is_counted(machine, monkeypatch):
    machine()
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert cpu_budget() == CpuBudget(12, "processors of the machine", (("processors of the machine", 12),))


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/job", {"job/cpu.max": "250000 100000"}, 3),
        ("0::/job", {"job/cpu.max": "200000 100000"}, 2),
        ("0::/job", {"job/cpu.max": "50000 100000"}, 1),
        ("0::/job", {"job/cpu.max": "max 100000"}, None),
        ("0::/user/job", {"user/job/cpu.max": "max 100000", "user/cpu.max": "400000 100000"}, 4),
        ("0::/user/job", {"user/job/cpu.max": "300000 100000", "user/cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "600000 100000"}, 6),
        ("0::/not/visible/in/a/container", {"cpu.max": "150000 50000"}, 3),
        ("0::/job", {"job/cpu.max": "nonsense"}, None),
        ("0::/job", {"job/cpu.max": ""}, None),
        ("0::/job", {}, None),
        ("", {}, None),
        (
            "4:cpu,cpuacct:/job\n0::/",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "350000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/a", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu:/a/b", {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"}, 1),
        ("4:cpuset:/a", {"cpu/a/cpu.cfs_quota_us": "100000", "cpu/a/cpu.cfs_period_us": "100000"}, None),
        ("4:cpuset:/a", {"cpuset/a/cpu.cfs_quota_us": "100000", "cpuset/a/cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_cgroup_quotas_of_both_versions(tmp_path, membership, files, quota):
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (tmp_path / "membership").write_text(membership + "\n" if membership else "")
    assert cpus._cgroup_quota(tmp_path / "cgroup", tmp_path / "membership") == quota


def test_a_machine_without_cgroups_has_no_quota(tmp_path):
    assert cpus._cgroup_quota(tmp_path, tmp_path / "no such file") is None


@pytest.mark.parametrize(
    ("n_jobs", "threads"),
    [(1, 1), (3, 3), (8, 8), (np.int64(2), 2), (-1, 8), (-2, 7), (-8, 1), (-9, 1), (-100, 1)],
)
def test_n_jobs_counts_from_the_end_as_joblib_does(machine, n_jobs, threads):
    machine(affinity=8)
    resolved = resolve_n_jobs(n_jobs)
    assert (resolved, type(resolved)) == (threads, int)


def test_more_processors_than_the_job_was_given_are_taken_with_a_warning(machine):
    machine(affinity=8, slurm="4")
    with pytest.warns(RuntimeWarning, match=r"n_jobs=5 asks for more processors than the 4 .*SLURM_CPUS_PER_TASK: 4"):
        assert resolve_n_jobs(5) == 5


@pytest.mark.parametrize(
    ("n_jobs", "error", "message"),
    [
        (0, ValueError, "n_jobs=0 has no meaning; use 1 for a single thread or -1 for all"),
        (True, TypeError, "n_jobs must be an integer, got True"),
        (None, TypeError, "n_jobs must be an integer, got None"),
        (2.0, TypeError, "n_jobs must be an integer, got 2.0"),
        ("2", TypeError, "n_jobs must be an integer, got '2'"),
    ],
)
def test_bad_n_jobs(n_jobs, error, message):
    with pytest.raises(error, match=message):
        resolve_n_jobs(n_jobs)


def test_the_processor_has_a_name(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A  Processor: fast\n")
    assert cpus.processor_name(tmp_path / "cpuinfo") == "A Processor: fast"
    assert cpus.processor_name(tmp_path / "no such file")
    assert cpus.processor_name()


# Threads


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def two_blas_threads():
    """Every copy of BLAS at two threads, whatever the machine has."""
    if not blas_threads():
        pytest.skip("this BLAS does not let its threads be counted")
    with threadpool_limits(2, user_api="blas"):
        if set(blas_threads()) != {2}:
            pytest.skip("this BLAS has one thread only")
        yield


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_blas_has_one_thread_in_all_copies_and_gets_its_own_back(two_blas_threads, error):
    def body():
        with kernel_threads(1):
            assert set(blas_threads()) == {1}
            if error is not None:
                raise error

    if error is None:
        body()
    else:
        with pytest.raises(error):
            body()
    assert set(blas_threads()) == {2}


def test_a_search_for_neighbours_leaves_blas_its_threads():
    with threadpool_limits(2, user_api="blas"):
        sphere_neighbours(np.ones((10, 10, 10)), np.eye(4), 2.0)  # enough centres for two threads
        assert set(blas_threads()) == {2}


def count_threads():
    """How many threads take parts that take long."""
    seen = set()

    def work(part):
        seen.add(threading.get_ident())
        time.sleep(0.02)

    in_parts(40, 1, work)
    return len(seen)


@pytest.mark.parametrize("error", [None, ValueError])
def test_as_many_threads_as_asked_for_and_no_more_when_it_is_over(error):
    try:
        with kernel_threads(1):
            assert count_threads() == 1
            with kernel_threads(5):  # also where the machine has fewer processors
                assert count_threads() == 5
            assert count_threads() == 1
            if error is not None:
                raise error
    except ValueError:
        assert error is not None
    assert count_threads() == min(40, max_threads())
    assert {thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name} == set()


def test_threads_are_kept_for_the_next_parts():
    with kernel_threads(3):
        count_threads()
        before = {thread.ident for thread in threading.enumerate()}
        count_threads()
        assert {thread.ident for thread in threading.enumerate()} == before


def test_a_second_thread_waits_for_the_first():
    started, ended = threading.Event(), []

    def second():
        started.set()
        with kernel_threads(1):
            ended.append("second")

    with kernel_threads(1):
        other = threading.Thread(target=second)
        other.start()
        started.wait(60)
        other.join(0.2)
        ended.append("first")
    other.join(60)
    assert ended == ["first", "second"]


@pytest.mark.parametrize("n_threads", [1, 2, 7])
@pytest.mark.parametrize("n", [0, 1, 8, 9, 16, 100])
def test_parts_are_the_whole_and_no_smaller_than_asked(n, n_threads):
    done = []
    with kernel_threads(n_threads):
        in_parts(n, 8, done.append)
    done.sort(key=lambda part: part.start)
    assert [i for part in done for i in range(n)[part]] == list(range(n))
    assert all(part.stop - part.start >= 8 for part in done[:-1])


def test_no_part_is_more_than_half_of_what_a_thread_has_left():
    done = []
    with kernel_threads(2):
        in_parts(1000, 8, done.append)
    done.sort(key=lambda part: part.start)
    assert all(part.stop - part.start <= max(8, (1000 - part.start + 3) // 4) for part in done)
    assert done[-1].stop - done[-1].start <= 8


def test_parts_are_worked_on_at_once():
    both = threading.Barrier(2, timeout=60)
    with kernel_threads(2):
        in_parts(2, 1, lambda part: both.wait())  # a thread alone would wait for ever


def test_every_other_thread_holds_blas_itself(monkeypatch):
    held, worked, both = [], [], threading.Barrier(2, timeout=60)

    def work(part):
        both.wait()
        worked.append(threading.get_ident())

    monkeypatch.setattr(launch, "_hold_blas", lambda: held.append(threading.get_ident()))
    with kernel_threads(2):
        in_parts(2, 1, work)
    assert len(held) == 1
    assert set(worked) == {threading.get_ident(), *held}


def test_one_thread_works_in_the_one_that_calls():
    seen = []
    with kernel_threads(1):
        in_parts(100, 1, lambda part: seen.append(threading.get_ident()))
    assert set(seen) == {threading.get_ident()}


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_in_a_part_reaches_the_caller(n_threads):
    def work(part):
        if 3 in range(8)[part]:
            raise ValueError("the fourth")

    with kernel_threads(n_threads), pytest.raises(ValueError, match="the fourth"):
        in_parts(8, 1, work)


FORK = """
    import os, signal, threading, warnings
    import numpy as np
    from threadpoolctl import threadpool_info, threadpool_limits
    from fastsl import search_light, sphere_neighbours
    from fastsl._runtime.launch import kernel_threads

    X, y, mask = np.random.default_rng(0).standard_normal((20, 1000)), np.tile([0, 1], 10), np.ones((10, 10, 10))

    def work():
        return search_light(X, y, "ridge_classifier", sphere_neighbours(mask, np.eye(4), 2), cv=2, n_jobs=2)

    def blas():
        return {{one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}}

    def fork():
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # a child that waits for threads which it has not
            os._exit(7 if np.array_equal(work(), before) and (blas() == own or {forks} == "while searching") else 8)
        print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def hold():
        with kernel_threads(1):
            held.set()
            done.wait()

    warnings.simplefilter("ignore")  # of forking with threads, which is what we are here for
    threadpool_limits(2, user_api="blas")
    before, own, held, done = work(), blas(), threading.Event(), threading.Event()
    if {forks} == "while searching":
        with kernel_threads(2):
            work()
            fork()
    elif {forks} == "while another searches":
        other = threading.Thread(target=hold)
        other.start()
        held.wait()
        fork()
        done.set()
        other.join()
    else:
        fork()
    print("parent found the same:", np.array_equal(work(), before), blas() == own)
"""


@needs_fork
@pytest.mark.parametrize("forks", ["after searching", "while searching", "while another searches"])
def test_a_forked_child_finds_the_same(forks):
    printed = run_python(FORK.format(forks=repr(forks))).stdout
    assert printed.splitlines() == ["child ended with 7", "parent found the same: True True"]


def test_a_thread_goes_on_when_the_main_one_has_ended():
    """And no new thread can be started."""
    code = """
        import threading, time
        import numpy as np
        from fastsl import search_light, sphere_neighbours

        def work():
            threading.main_thread().join()
            X, y = np.random.default_rng(0).standard_normal((20, 1000)), np.tile([0, 1], 10)
            neighbours = sphere_neighbours(np.ones((10, 10, 10)), np.eye(4), 2)
            print(len(search_light(X, y, "ridge_classifier", neighbours, cv=2, n_jobs=2)), flush=True)

        threading.Thread(target=work).start()
    """
    assert run_python(code).stdout.split() == ["1000"]


CONCURRENT = """
    import threading
    import numpy as np
    from fastsl import search_light, sphere_neighbours

    rng = np.random.default_rng(0)
    X, y, mask = rng.standard_normal((20, 1000)), np.tile([0, 1], 10), np.ones((10, 10, 10))

    def work():
        listed = sphere_neighbours(mask, np.eye(4), 2)
        return search_light(X, y, "ridge_classifier", listed, cv=2, n_jobs=2)

    alone = work()
    results = []

    def repeat():
        for _ in range(3):
            results.append(work())

    threads = [threading.Thread(target=repeat) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(results), all(np.array_equal(alone, result) for result in results))
"""


def test_two_python_threads_may_search_at_once():
    assert run_python(CONCURRENT).stdout.split() == ["6", "True"]


# The compile cache

KERNELS = f"kernels-{fastsl.__version__}-{jit.source_digest()}-numba-{numba.__version__}"


@pytest.fixture
def package_copy(tmp_path):
    copy = tmp_path / "source" / "fastsl"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_the_digest_is_that_of_the_compiled_sources(package_copy):
    assert jit.source_digest(package_copy) == jit.source_digest(PACKAGE)
    runtime = package_copy / "_runtime"
    sources = [*sorted((package_copy / "_kernels").glob("*.py")), runtime / "jit.py", runtime / "parts.py"]
    assert len(sources) > 5
    seen = {jit.source_digest(package_copy)}
    for source in sources:
        source.write_text(source.read_text() + "\n# changed\n")
        seen.add(jit.source_digest(package_copy))
    (package_copy / "_kernels" / "new.py").write_text("")
    seen.add(jit.source_digest(package_copy))
    assert len(seen) == len(sources) + 2


def test_the_digest_is_blind_to_what_is_not_compiled(package_copy):
    for name in ("metrics.py", "_runtime/cpus.py", "cli.py"):
        (package_copy / name).write_text("")
    assert jit.source_digest(package_copy) == jit.source_digest(PACKAGE)


def test_the_folder_is_named_after_versions_and_digest(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    folder = jit._find_cache_folder()
    assert folder == tmp_path / KERNELS
    assert list(folder.iterdir()) == []


def test_the_cache_is_in_the_users_cache_folder_unless_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert jit.cache_base() == tmp_path / "chosen"
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    assert jit.cache_base() == tmp_path / "xdg" / "fastsl"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jit.cache_base() == tmp_path / "home" / ".cache" / "fastsl"


def test_without_a_home_there_is_no_cache(monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert jit._find_cache_folder() is None


LISTED = """
    import json
    import numba
    import numpy as np
    before = numba.config.CACHE_DIR
    from fastsl import sphere_neighbours
    from fastsl._kernels.spheres import list_members
    from fastsl._runtime import jit
    listed = sphere_neighbours(np.ones((3, 1, 1)), np.eye(4), 1)
    print(json.dumps({
        "folder": str(jit.CACHE_FOLDER),
        "setting": [before, numba.config.CACHE_DIR],
        "hits": sum(list_members.stats.cache_hits.values()),
        "misses": sum(list_members.stats.cache_misses.values()),
        "middle": listed[1].tolist(),
    }))
"""


def compiled_files(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.rglob("*.nb[ci]")}


def test_a_second_process_finds_what_the_first_compiled(tmp_path):
    def run():
        facts = json.loads(run_python(LISTED, NUMBA_CACHE_DIR=tmp_path).stdout)
        assert facts["folder"] == str(tmp_path / KERNELS)
        assert facts["setting"] == [str(tmp_path)] * 2  # as numba read it, not our folder
        assert facts["middle"] == [0, 1, 2]
        return facts["hits"], facts["misses"], compiled_files(Path(facts["folder"]))

    hits, misses, files = run()
    assert (hits, misses) == (0, 1)
    assert sorted(Path(name).suffix for name in files) == [".nbc", ".nbi"]
    assert run() == (1, 0, files)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_two_processes_that_compile_at_once_do_not_take_each_others_code(monkeypatch, tmp_path):
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)

    def double(x):
        return x + x

    # As two processes that share a folder: both found no index, and one saved all between the other's two files.
    one, other, later = (jit.kernel(double) for _ in range(3))
    monkeypatch.setattr(IndexDataCacheFile, "_load_index", lambda _: {})
    file = one._cache._cache_file
    save = file._save_data
    monkeypatch.setattr(file, "_save_data", lambda *data: (other(1.5), save(*data)))
    assert (one(1), other(1.5)) == (2, 3.0)
    monkeypatch.undo()
    assert (later(1.5), later(1)) == (3.0, 2)
    assert sum(later.stats.cache_hits.values()) == 1  # the index that was written last knows the other's


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_names_of_code_are_drawn_when_it_is_saved(monkeypatch, tmp_path):
    """So that processes forked from one that has the kernel, but no code of it, take different ones."""
    monkeypatch.setattr(jit, "CACHE_FOLDER", tmp_path)
    kernel = jit.kernel(lambda x: x)
    routine = jit.c_function(types.float64(types.float64), lambda x: x)
    for file in (kernel._cache._cache_file, routine._cache._cache_file):
        names = {file._data_name(1) for _ in range(2)}
        assert len(names) == 2
        assert all(name.endswith("-1.nbc") for name in names)


PROBE_HELPER = """
from fastsl._runtime.jit import helper

@helper
def answer():
    return {}
"""
PROBE = """
from fastsl._kernels.probe_helper import answer
from fastsl._runtime.jit import kernel

@kernel
def ask(values):
    values[:] = answer()
"""


def test_a_helper_that_changed_in_another_file_is_compiled_again(package_copy, tmp_path):
    """Numba's own cache would answer 1 twice: it looks at the file of the kernel only."""
    code = """
        import numpy as np
        import fastsl
        from fastsl._kernels.probe import ask
        values = np.zeros(2)
        ask(values)
        print(fastsl.__file__, *values)
    """
    (package_copy / "_kernels" / "probe.py").write_text(PROBE)
    for number in ("1.0", "2.0"):
        (package_copy / "_kernels" / "probe_helper.py").write_text(PROBE_HELPER.format(number))
        # Python's own cache of what it has read tells files by size and second.
        environment = {"PYTHONPATH": package_copy.parent, "NUMBA_CACHE_DIR": tmp_path / "cache"}
        printed = run_python(code, PYTHONDONTWRITEBYTECODE="1", **environment).stdout
        assert printed.split() == [str(package_copy / "__init__.py"), number, number]
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_an_unwritable_cache_costs_one_warning_and_no_result(tmp_path):
    (tmp_path / "file").write_text("in the way")
    code = """
        import numpy as np
        from fastsl import sphere_neighbours
        from fastsl._runtime import jit
        for radius in (1, 2):
            print(sphere_neighbours(np.ones((5, 5, 5)), np.eye(4), radius)[62].tolist())
        print(jit.CACHE_FOLDER)
    """
    done = run_python(code, "-W", "always", NUMBA_CACHE_DIR=tmp_path / "file" / "cache")
    spheres = [sphere_neighbours(np.ones((5, 5, 5)), np.eye(4), radius)[62].tolist() for radius in (1, 2)]
    assert done.stdout.splitlines() == [*map(str, spheres), "None"]
    assert done.stderr.count("RuntimeWarning: fastsl cannot write its compile cache to ") == 1
    assert "Point NUMBA_CACHE_DIR to a folder that you can write to" in done.stderr


# Imports


def test_importing_the_package_imports_nothing_heavy():
    code = """
        import sys
        import fastsl
        dir(fastsl), fastsl.__version__
        heavy = {"numba", "llvmlite", "numpy", "scipy", "sklearn", "nibabel", "joblib", "tqdm", "matplotlib", "pandas"}
        print(sorted(heavy & set(sys.modules)))
        fastsl.sphere_neighbours
        print("numba" in sys.modules, "nibabel" in sys.modules)
    """
    assert run_python(code).stdout.splitlines() == ["[]", "True False"]


def test_public_names_are_there_and_others_are_not():
    for name in fastsl.__all__:
        assert getattr(fastsl, name) is not None
        assert name in dir(fastsl)
    with pytest.raises(AttributeError, match="module 'fastsl' has no attribute 'decode'"):
        fastsl.decode  # noqa: B018


@pytest.mark.parametrize("library", [object(), None], ids=["without malloc_trim", "no library"])
def test_memory_is_given_back_where_the_system_can(monkeypatch, library):
    give_back()

    def load(_):
        if library is None:
            raise OSError
        return library

    monkeypatch.setattr("ctypes.CDLL", load)
    give_back()
