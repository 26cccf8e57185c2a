"""Signals: a run that is asked to end saves what it has, says "again", and goes on where it was."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastsl._runtime import signals
from fastsl._runtime.signals import Stopped, received, stop_if_asked, watching
from fastsl.checkpoints.blocks import find_files
from fastsl.cli import main

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")
SLOWED = Path(__file__).with_name("slowed.py")


def command(saved_phantom, out, *options):
    data = ["--imgs", "bold.nii", "--mask", "mask.nii.gz", "--labels", "labels.tsv", "--target", "condition"]
    data = [str(saved_phantom / word) if "." in word else word for word in data]
    return [sys.executable, str(SLOWED), "run", *data, "--radius", "15", "--out", str(out), "--quiet", *options]


def n_saved(out):
    return sum(file.stop - file.start for folder in out.glob("checkpoint/*") for file in find_files(folder))


@pytest.fixture
def start():
    """Start a run, and wait until some spheres are saved. Ctrl-C works also below a shell that ignores it."""
    started = []

    def call(words, out, n):
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
        finally:
            signal.signal(signal.SIGINT, previous)
        started.append(process)
        for _ in range(600):
            if n_saved(out) >= n or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()
        assert n_saved(out) >= n
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def end(process):
    """Exit status of a process, and what it said on stderr."""
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def again(words):
    """Give the same command again, here."""
    return main(words[2:])


ARRAYS = ("predictions.npy", "decisions.npy", "confusion.npy")
KEEP = ["--keep-predictions", "--keep-confusion"]


@pytest.fixture(scope="module")
def expected(saved_phantom, tmp_path_factory):
    """Results of one run without a disturbance."""
    folder = tmp_path_factory.mktemp("one")
    assert again(command(saved_phantom, folder, *KEEP)) == 0
    return folder


ENDS = {"SIGTERM": 75, "SIGUSR1": 75, "SIGINT": 130, "SIGKILL": -9}


@pytest.mark.parametrize("name", ENDS)
def test_a_run_that_is_ended_goes_on_where_it_was(start, saved_phantom, tmp_path, expected, name, decoded):
    words = command(saved_phantom, tmp_path, *KEEP)
    process = start(words, tmp_path, 128)
    process.send_signal(getattr(signal, name))
    status, err = end(process)
    assert status == ENDS[name]
    saved = n_saved(tmp_path)
    assert 128 <= saved < 1912
    how = "interrupted" if name == "SIGINT" else f"stopped by {name}"
    said = (
        f"fastsl run: {how}; {saved} of 1912 spheres are saved in {tmp_path}/checkpoint; give the same command again "
        "to go on from there.\n"
    )
    assert err == ("" if name == "SIGKILL" else said)
    assert not (tmp_path / "scores.nii.gz").exists()
    assert again(words) == 0
    assert sum(decoded) == 1912 - saved
    found, whole = (nib.load(folder / "scores.nii.gz").get_fdata() for folder in (tmp_path, expected))
    np.testing.assert_array_equal(found, whole)
    for array in ARRAYS:
        np.testing.assert_array_equal(np.load(tmp_path / array), np.load(expected / array))
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in expected.iterdir()}


def test_a_run_that_ended_while_it_wrote_its_maps_goes_on(
    saved_phantom, tmp_path, expected, monkeypatch, capsys, decoded
):
    words = command(saved_phantom, tmp_path, *KEEP)

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fastsl.results.write_json", full)
        assert again(words) == 1
    assert capsys.readouterr().err == (
        f"fastsl run: --out: cannot write to {tmp_path} (No space left on device). All spheres are saved in "
        f"{tmp_path}/checkpoint: make room, and give the same command again.\n"
    )
    assert (tmp_path / "scores.nii.gz").exists()
    decoded.clear()
    assert again(words) == 0
    assert decoded == []
    for array in ARRAYS:
        np.testing.assert_array_equal(np.load(tmp_path / array), np.load(expected / array))
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in expected.iterdir()}


def test_other_settings_after_a_kill_are_refused_or_replace(start, saved_phantom, tmp_path, capsys):
    process = start(command(saved_phantom, tmp_path), tmp_path, 64)
    process.kill()
    end(process)
    words = command(saved_phantom, tmp_path, "--min-voxels", "2")
    assert again(words) == 1
    said = capsys.readouterr().err
    assert "what differs: min_voxels (2 here, 1 there)" in said
    assert "(--overwrite on the command line)" in said
    assert again([*words, "--overwrite"]) == 0
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("options", [[], ["--shard", "1/2"]], ids=["whole", "shard"])
def test_two_processes_on_one_shard_notice_each_other(
    start, saved_phantom, tmp_path, expected, monkeypatch, capsys, options
):
    monkeypatch.setenv("SLOWED_SECONDS", "0.3")
    words = command(saved_phantom, tmp_path, *KEEP, *options)
    process = start(words, tmp_path, 64)
    assert again(words) == 1
    said = capsys.readouterr().err
    shard = options[-1] if options else "1/1"
    assert f"shard {shard} in {tmp_path}/checkpoint is being computed by process {process.pid} on" in said
    if options:
        assert again([*words[:-1], "2/2"]) == 0
        process.terminate()
        assert end(process)[0] == 75
    else:  # and the first goes on as if nothing had happened
        assert end(process) == (0, "")
        for array in ARRAYS:
            np.testing.assert_array_equal(np.load(tmp_path / array), np.load(expected / array))


def test_a_folder_of_the_same_name_keeps_what_is_not_ours(saved_phantom, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "mine").write_text("")
    assert again(command(saved_phantom, tmp_path)) == 0
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["mine"]


def test_workers_that_get_the_signal_too_are_no_defect(start, saved_phantom, tmp_path):
    """SLURM sends its signal to every process of a job, and so ends the workers of the general path."""
    words = command(saved_phantom, tmp_path, "--estimator", "svc_l1", "--n-jobs", "2")
    process = start(words, tmp_path, 64)
    os.killpg(process.pid, signal.SIGTERM)
    status, err = end(process)
    assert status == 75
    assert "fastsl run: stopped by SIGTERM; " in err
    assert "Traceback" not in err


# The note that is taken


def test_handlers_are_given_back():
    before = [signal.getsignal(number) for number in signals.ASKING]
    with watching():
        assert received() is None
        stop_if_asked()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert received() == "SIGUSR1"
        with pytest.raises(Stopped) as stopped:
            stop_if_asked()
        assert stopped.value.name == "SIGUSR1"
    assert [signal.getsignal(number) for number in signals.ASKING] == before
    assert received() is None


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with watching():
            os.kill(os.getpid(), signal.SIGUSR2)
            assert received() is None
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_another_thread_than_the_main_one_cannot_watch():
    failed = []

    def work():
        try:
            with watching():
                stop_if_asked()
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []


def test_a_signal_in_the_last_block_lets_the_run_end(phantom, tmp_path, small_blocks, decoded, monkeypatch):
    from fastsl import SearchLight

    searchlight = SearchLight(phantom.mask_img, radius=15, n_jobs=1, checkpoint=tmp_path)
    put = type(decoded).append

    def last(self, size):
        put(self, size)
        if len(self) == 30:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(type(decoded), "append", last)
    with watching():
        searchlight.fit(phantom.img, phantom.labels["condition"])
    assert len(decoded) == 30
