"""One process at a time on a shard: who lives is respected, who died is buried."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from fastsl import SearchLight
from fastsl.checkpoints import lock
from fastsl.checkpoints.lock import Lock, is_alive, read_holder

THERE = {"host": "node17", "processes": "others", "pid": 123, "started": "9", "since": "2026-01-01T00:00:00+0000"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def held_by(path):
    """Write a lock of somebody, whose last sign of life was some seconds ago."""

    def write(seconds_ago=0.0, **changes):
        path.write_text(json.dumps({**THERE, "token": "other", "job": "", "job_id": "", "restart": "0", **changes}))
        os.utime(path, (time.time() - seconds_ago,) * 2)

    return write


def test_a_lock_is_held_once_and_given_back(path):
    with Lock(path, "shard 1/2") as first:
        assert first.is_ours()
        with pytest.raises(
            BlockingIOError, match=r"shard 1/2 is being computed by process \d+ on .* since 20"
        ) as refused:
            Lock(path, "shard 1/2").__enter__()
        assert f"If you know that it is dead, remove {path}" in str(refused.value)
        assert f"process {os.getpid()} " in str(refused.value)
    assert list(path.parent.iterdir()) == []
    with Lock(path, "again"):
        pass


def test_only_one_of_many_threads_gets_it(path):
    got, barrier, all_tried = [], threading.Barrier(8), threading.Barrier(8, timeout=60)

    def compete():
        barrier.wait()
        try:
            with Lock(path, "it"):
                got.append(1)
                all_tried.wait()
        except BlockingIOError:
            got.append(0)
            all_tried.wait()

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [0] * 7 + [1]


def test_without_hard_links_a_lock_is_a_lock(path, monkeypatch):
    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    with Lock(path, "it"), pytest.raises(BlockingIOError):
        Lock(path, "it").__enter__()
    with Lock(path, "it"):
        pass


def test_a_killed_process_of_this_machine_is_dead_at_once(path):
    code = (
        "import sys, time; from pathlib import Path; from fastsl.checkpoints.lock import Lock; "
        f"Lock(Path({str(path)!r}), 'x')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code + ".__enter__(); print(1, flush=True); time.sleep(99)"], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    with pytest.raises(BlockingIOError, match=f"process {process.pid} on"):
        Lock(path, "x").__enter__()
    process.kill()
    # Also while nobody has taken note of its end: a zombie computes nothing.
    time.sleep(0.2)
    with Lock(path, "x"):
        pass
    process.wait()
    process.stdout.close()


def test_another_process_that_got_the_same_number_is_another(path, held_by):
    with Lock(path, "x"):
        mine = read_holder(path)
    held_by(**{**mine, "started": "12345"})
    assert not is_alive(path, read_holder(path))
    held_by(**mine)
    assert is_alive(path, read_holder(path))


@pytest.mark.parametrize(("seconds_ago", "alive"), [(0, True), (200, True), (400, False)])
def test_another_machine_lives_as_long_as_it_gives_signs(path, held_by, seconds_ago, alive):
    held_by(seconds_ago)
    if alive:
        with pytest.raises(
            BlockingIOError, match=r"process 123 on node17 since 2026-01-01T00:00:00\+0000, last sign of"
        ):
            Lock(path, "x").__enter__()
        assert read_holder(path)["host"] == "node17"
    else:
        with Lock(path, "x") as mine:
            assert mine.is_ours()


def test_a_job_that_slurm_requeued_is_its_own_heir(path, held_by, monkeypatch):
    held_by(job="7_3", job_id="9", restart="0")
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    with pytest.raises(BlockingIOError, match="SLURM job 7_3"):
        Lock(path, "x").__enter__()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with Lock(path, "x") as mine:
        assert mine.is_ours()


def test_a_lock_that_was_half_written_goes_by_its_age(path):
    path.write_text('{"host": "no')
    with pytest.raises(BlockingIOError):
        Lock(path, "x").__enter__()
    os.utime(path, (0, 0))
    with Lock(path, "x"):
        pass


def test_a_holder_gives_signs_of_life(path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.05)
    with Lock(path, "x"):
        os.utime(path, (0, 0))
        for _ in range(100):
            time.sleep(0.05)
            if path.stat().st_mtime > 0:
                break
        assert path.stat().st_mtime > 0


def test_who_was_taken_over_leaves_the_new_lock_alone(path, held_by):
    with Lock(path, "x") as mine:
        held_by()
        assert not mine.is_ours()
    assert read_holder(path)["host"] == "node17"


# In a search


def fit(phantom, folder, **arguments):
    searchlight = SearchLight(phantom.mask_img, radius=15, n_jobs=1, checkpoint=folder)
    return searchlight.fit(phantom.img, phantom.labels["condition"], **arguments)


def test_a_second_process_on_the_same_shard_is_refused_and_breaks_nothing(phantom, tmp_path, held_by):
    folder = tmp_path / "checkpoint" / "shard-1-of-2"
    folder.mkdir(parents=True)
    with Lock(folder / "lock", "somebody"):
        with pytest.raises(BlockingIOError, match=f"shard 1/2 in {tmp_path}/checkpoint is being computed by process"):
            fit(phantom, tmp_path / "checkpoint", shard=(1, 2))
        fit(phantom, tmp_path / "checkpoint", shard=(2, 2))
    fit(phantom, tmp_path / "checkpoint", shard=(1, 2))
    assert not list((tmp_path / "checkpoint").rglob("lock"))


def test_a_search_that_was_taken_over_ends(phantom, tmp_path, small_blocks, decoded, monkeypatch):
    place = tmp_path / "shard-1-of-1" / "lock"
    is_ours = Lock.is_ours

    def taken_over(self):
        if len(decoded) == 3:
            place.write_text(json.dumps({**THERE, "token": "other"}))
        return is_ours(self)

    monkeypatch.setattr(Lock, "is_ours", taken_over)
    with pytest.raises(BlockingIOError, match=r"another process took over .* it goes on, and this one ends"):
        fit(phantom, tmp_path)
    assert len(decoded) == 3
    assert read_holder(place)["host"] == "node17"
