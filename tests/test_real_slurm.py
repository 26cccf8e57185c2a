"""A real SLURM: an array that is submitted, killed in part, reported, rerun and merged; and the processors of a job.

``start-slurm.sh`` starts a cluster of one node on this machine, and is no part of the project. It is looked for in the
folder that FASTSL_TEST_SLURM names, else beside the repository; it needs root.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fastsl.checkpoints.blocks import find_files
from fastsl.cli import main

FOLDER = Path(os.environ.get("FASTSL_TEST_SLURM") or Path(__file__).resolve().parents[2] / "shared" / "slurm")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (FOLDER / "start-slurm.sh").exists(),
        reason="no SLURM: set FASTSL_TEST_SLURM to a folder with start-slurm.sh and stop-slurm.sh",
    ),
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can start a SLURM"),
]
SLOWED = Path(__file__).with_name("slowed.py")


def free_port():
    """The first of three ports that nobody listens to: another test run may have a SLURM of its own."""
    for port in range(20_000 + os.getpid() % 10_000, 60_000, 3):
        try:
            for used in range(port, port + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", used))
        except OSError:
            continue
        return port
    raise AssertionError("no free port")


@pytest.fixture(scope="module")
def start_slurm():
    """Start a cluster; it is stopped at the end."""
    started = []

    def start(**settings):
        # Not below pytest's own folder, which is closed to others: the daemons insist on a socket that all can reach.
        root = tempfile.mkdtemp(prefix="fastsl-slurm-")
        environment = {**os.environ, "SLURM_TEST_ROOT": root, "SLURM_TEST_PORT": str(free_port()), **settings}
        done = subprocess.run(
            [FOLDER / "start-slurm.sh", "-q"], env=environment, capture_output=True, text=True, check=False
        )
        started.append(environment)
        if done.returncode != 0:
            pytest.skip(f"SLURM does not start here: {done.stderr.strip()[-300:]}")
        return re.search(r"SLURM_CONF=(\S+)", done.stdout)[1]

    yield start
    for environment in started:
        subprocess.run([FOLDER / "stop-slurm.sh", "--clean"], env=environment, check=False)


@pytest.fixture(scope="module")
def bound(start_slurm):
    """A cluster that binds jobs to their processors."""
    return start_slurm(SLURM_TEST_TASK="affinity")


@pytest.fixture(scope="module")
def unbound(start_slurm):
    """A cluster that only says how many processors a job has."""
    return start_slurm(SLURM_TEST_TASK="none")


def wait_for(condition, seconds=120):
    for _ in range(seconds * 5):
        if condition():
            return
        time.sleep(0.2)
    pytest.fail("it did not come to that")


def is_empty():
    done = subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True)
    return done.stdout == ""


def blocks(out, i):
    return len(find_files(out / "checkpoint" / f"shard-{i}-of-3"))


def status(out, capsys):
    capsys.readouterr()
    assert main(["slurm", "status", str(out)]) == 0
    text = capsys.readouterr().out
    states = dict(re.findall(r"^ *(\d)/3 +(\w+)", text, re.M))
    return text, states


def test_an_array_that_is_killed_in_part_and_rerun_equals_one_run(bound, saved_phantom, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_CONF", bound)
    monkeypatch.setenv("SLOWED_SECONDS", "0.3")
    monkeypatch.chdir(tmp_path)
    # What the scripts call as "python -m fastsl": slow enough to be disturbed.
    slowly = tmp_path / "python"
    slowly.write_text(f'#!/bin/bash\nshift 2\nexec "{sys.executable}" "{SLOWED}" "$@"\n')
    slowly.chmod(0o755)
    monkeypatch.setattr("fastsl.slurm.script.sys.executable", str(slowly))
    options = ["--imgs", "bold.nii", "--mask", "mask.nii.gz", "--labels", "labels.tsv", "--target", "condition"]
    options = [str(saved_phantom / word) if "." in word else word for word in options]
    options += ["--radius", "15", "--groups", "run", "--quiet"]
    assert main(["run", *options, "--out", "one"]) == 0
    out = tmp_path / "many maps"
    jobs = ["--shards", "3", "--cpus-per-task", "1", "--mem", "700M", "--time", "10"]
    assert main(["slurm", "run", *options, "--out", out.name, *jobs, "--", "-p", "test", "--comment", "two words"]) == 0
    array = json.loads((out / "slurm" / "jobs.json").read_text())["jobs"]["shards"]

    wait_for(lambda: blocks(out, 1) > 0 and blocks(out, 2) > 0)
    text, states = status(out, capsys)
    assert (states["1"], states["2"]) == ("running", "running"), text
    subprocess.run(["scancel", f"{array}_1"], check=True)
    # The warning that SLURM sends ahead of the time limit.
    subprocess.run(["scancel", "--signal=USR1", "--batch", f"{array}_2"], check=True)
    wait_for(lambda: "stopped by SIGUSR1" in (out / "slurm" / "logs" / "shard-2.log").read_text())
    wait_for(is_empty)

    text, states = status(out, capsys)
    assert states == {"1": "failed", "2": "done", "3": "done"}, text
    assert re.search(
        rf"1/3 +failed +\d+ of \d+ +job {array}_1 CANCELLED .*, see \S*many maps/slurm/logs/shard-1.log", text
    )
    assert "stopped by SIGTERM; " in (out / "slurm" / "logs" / "shard-1.log").read_text()
    assert "1 of 3 shards cannot be joined" in (out / "slurm" / "logs" / "merge.log").read_text()
    assert not (out / "result.json").exists()
    done_before = blocks(out, 1)
    assert done_before > 0

    again = text.splitlines()[-1].strip()
    assert "--array=1 " in again
    subprocess.run(["bash", "-c", again], check=True, capture_output=True)
    wait_for(lambda: status(out, capsys)[1]["1"] in ("running", "waiting", "done"))
    wait_for(is_empty)
    text, states = status(out, capsys)
    assert set(states.values()) == {"done"}, text
    assert text.splitlines()[-1] == f"The results are in {out}."
    found, expected = (nib.load(folder / "scores.nii.gz").get_fdata() for folder in (out, tmp_path / "one"))
    np.testing.assert_array_equal(found, expected)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {path.name for path in out.iterdir()} == names | {"checkpoint", "slurm"}


#: A search whose processor time is more than its duration where it runs on more than one core.
USED = """
import json, time
import numpy as np
from fastsl import search_light, sphere_neighbours
from fastsl._runtime.cpus import cpu_budget

rng = np.random.default_rng(0)
X, y = rng.standard_normal((60, 8000)), np.tile([0, 1], 30)
A = sphere_neighbours(np.ones((20, 20, 20)), np.eye(4), 3)
search_light(X[:, :27], y, "svc", sphere_neighbours(np.ones((3, 3, 3)), np.eye(4), 1), n_jobs=-1)
began, used = time.perf_counter(), time.process_time()
search_light(X, y, "svc", A, n_jobs=-1)
cores = (time.process_time() - used) / (time.perf_counter() - began)
print(json.dumps({"cores": cores, "decided_by": cpu_budget().decided_by, "n": cpu_budget().n_cpus}))
"""


@pytest.mark.parametrize("options", [["--cpus-per-task=1"], []], ids=["cpus-per-task", "nothing said"])
@pytest.mark.parametrize("cluster", ["bound", "unbound"])
def test_a_job_of_one_processor_uses_one_core(cluster, options, request, monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_CONF", request.getfixturevalue(cluster))
    (tmp_path / "used.py").write_text(USED)
    (tmp_path / "job.sh").write_text(f"#!/bin/bash\nexec {sys.executable} {tmp_path}/used.py\n")
    subprocess.run(
        ["sbatch", *options, "--mem=1G", f"--output={tmp_path}/log", tmp_path / "job.sh"],
        check=True,
        capture_output=True,
    )
    wait_for(lambda: (tmp_path / "log").exists() and is_empty())
    found = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert found["n"] == 1
    assert found["cores"] < 1.2
    if cluster == "unbound" and os.cpu_count() > 1:
        assert found["decided_by"] == ("SLURM_CPUS_PER_TASK" if options else "SLURM_CPUS_ON_NODE")
