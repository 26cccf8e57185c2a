"""``fastsl slurm status``: which shards are done, running, failed or missing, from files and from SLURM's queue."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastsl.checkpoints.blocks import DamagedError
from fastsl.checkpoints.lock import is_alive, read_holder, seconds_since, who
from fastsl.checkpoints.manifest import left_to_do, read_manifest, shard_folders
from fastsl.checkpoints.shards import Shard
from fastsl.merging import BELOW, commands_for, survey
from fastsl.slurm.client import call, is_here
from fastsl.slurm.script import FOLDER, LOGS
from fastsl.slurm.submit import JOBS

_ACTIVE = {"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"}
_WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}


@dataclass(frozen=True)
class Job:
    """What SLURM says of a task of the array."""

    number: str
    state: str
    more: str


@dataclass(frozen=True)
class Line:
    """What is known of a shard: done, running, waiting, failed or missing."""

    shard: Shard
    state: str
    spheres: str
    more: str

    def __str__(self) -> str:
        return f"{self.shard!s:>9}  {self.state:8}  {self.spheres:20}  {self.more}".rstrip()


def status(folder: str | Path) -> str:
    """Say how far the shards are, and which command computes just those that failed or are missing.

    Raises
    ------
    FileNotFoundError
        When the folder has neither shards nor scripts.
    """
    out = Path(folder)
    scripts = out / FOLDER
    submitted = _read_jobs(scripts)
    folders = shard_folders(out / BELOW)
    numbers = {shard.of for shard in folders}
    if not submitted and not folders:
        raise FileNotFoundError(f"{out} has no shards, and nothing was submitted for it with 'fastsl slurm run'.")
    n = int(submitted.get("shards") or max(numbers))
    jobs, remark = _ask_slurm(submitted.get("name"))
    lines = [_line(Shard(i, n), out, jobs.get(str(i))) for i in range(1, n + 1)]
    counts = {
        state: sum(line.state == state for line in lines)
        for state in ("done", "running", "waiting", "failed", "missing")
    }
    said = [f"{'shard':>9}  {'state':8}  spheres", *map(str, lines)]
    said.append(f"{n} shards: " + ", ".join(f"{number} {state}" for state, number in counts.items() if number) + ".")
    said += remark
    again = [line.shard.number for line in lines if line.state in ("failed", "missing")]
    if again:
        said += ["Compute just what failed or is missing, and join all:", *_again(again, out, submitted)]
    elif counts["done"] == n:
        said.append(_results(out))
    return "\n".join(said)


def _read_jobs(scripts: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((scripts / JOBS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _line(shard: Shard, out: Path, job: Job | None) -> Line:
    folder = out / BELOW / shard.folder
    spheres, done, begun = "", False, False
    try:
        manifest = read_manifest(folder)
        if manifest is not None:
            n = manifest.stop - manifest.first
            n_left = sum(b - a for a, b in left_to_do(folder, manifest))
            spheres, done, begun = f"{n - n_left} of {n}", n_left == 0, True
    except DamagedError as error:
        return Line(shard, "failed", "", str(error))
    if done:
        return Line(shard, "done", spheres, "")
    lock = folder / "lock"
    holder = read_holder(lock)
    if holder is not None and is_alive(lock, holder) and not (job and job.state not in _ACTIVE):
        return Line(shard, "running", spheres, f"{who(holder)}, last sign of life {seconds_since(lock):.0f} s ago")
    if job is None:
        return Line(shard, "failed" if begun else "missing", spheres, "stopped" if begun else "")
    if job.state in _ACTIVE | _WAITING:
        return Line(shard, "running" if job.state in _ACTIVE else "waiting", spheres, f"job {job.number} {job.more}")
    log = out / FOLDER / LOGS / f"shard-{shard.number}.log"
    return Line(shard, "failed", spheres, f"job {job.number} {job.state} {job.more}, see {log}")


def _ask_slurm(name: str | None) -> tuple[dict[str, Job], list[str]]:
    """Jobs by number of the shard, the latest where there are several; and what is to be said of the asking."""
    if name is None:
        return {}, []
    if not is_here("squeue"):
        return {}, ["There is no squeue here: this is what the files say."]
    jobs: dict[str, Job] = {}
    try:
        # Accounting knows jobs that the queue has forgotten. Many sites have none.
        rows = call(["sacct", "-n", "-X", "-P", "-S", "now-30days", "--name", name, "-o", "JobID,State,ExitCode"])
        for row in rows.splitlines():
            number, state, code = row.split("|")
            if "_" in number and "[" not in number:
                _take(jobs, number.partition("_")[2], Job(number, state.split()[0], f"exit {code}"))
    except OSError:
        jobs = {}
    try:
        rows = call(["squeue", "-h", "-r", "-t", "all", "-n", name, "-o", "%F|%K|%T|%r|%N"])
    except OSError as error:
        return jobs, [f"{error} This is what the files say."]
    for row in rows.splitlines():
        array, task, state, reason, node = row.split("|")
        _take(jobs, task, Job(f"{array}_{task}", state, node if state in _ACTIVE else f"({reason})"))
    return jobs, []


def _take(jobs: dict[str, Job], task: str, job: Job) -> None:
    """Keep the later of two jobs of one shard; one that is in the queue is later than one that is over."""

    def order(one: Job) -> tuple[bool, int]:
        return one.state in _ACTIVE | _WAITING, int(one.number.partition("_")[0])

    if task not in jobs or order(job) >= order(jobs[task]):
        jobs[task] = job


def _again(numbers: list[int], out: Path, submitted: dict[str, Any]) -> list[str]:
    """Commands that compute some shards and join all."""
    if not submitted:
        commands = commands_for(survey(out / BELOW), out)
        return [f"  {command}" for command in (*commands, f"fastsl merge {shlex.quote(str(out))}")]
    shards, merge = (shlex.quote(str((out / FOLDER / name).absolute())) for name in ("shards.sh", "merge.sh"))
    listed = ",".join(map(str, numbers))
    return [f"  sbatch --dependency=afterany:$(sbatch --parsable --array={listed} {shards}) {merge}"]


def _results(out: Path) -> str:
    """What is to be said of the results when all shards are done."""
    try:
        record = json.loads((out / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"Join them: fastsl merge {shlex.quote(str(out))}"
    if record.get("merged", {}).get("missing"):
        return f"The map in {out} still has holes. Join them again: fastsl merge {shlex.quote(str(out))} --overwrite"
    return f"The results are in {out}."
