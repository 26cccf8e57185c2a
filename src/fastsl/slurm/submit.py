"""``fastsl slurm run``: write the scripts and submit them, each behind the one before."""

import argparse
import shlex
from pathlib import Path

from fastsl import results
from fastsl.checkpoints.blocks import DamagedError
from fastsl.checkpoints.manifest import read_manifest, shard_folders
from fastsl.checkpoints.recorder import Checkpoint
from fastsl.merging import BELOW
from fastsl.options import command_line
from fastsl.record import write_json
from fastsl.run import read_question
from fastsl.slurm.client import call
from fastsl.slurm.script import FOLDER, LOGS, Scripts, write_scripts

#: What was submitted, below the folder of the scripts.
JOBS = "jobs.json"


def submit(arguments: argparse.Namespace) -> None:
    """Check the question, write the scripts, submit them, and say what was done; with ``--dry-run`` print them.

    Raises
    ------
    TypeError, ValueError, OSError, ImportError
        For what would make every shard fail: before anything waits in a queue.
    """
    scripts = write_scripts(arguments)
    question = read_question(arguments)
    if arguments.dry_run:
        for name, text in scripts.texts.items():
            print(f"# ---- {Path(arguments.out).absolute() / FOLDER / name}\n{text}")
        return
    out = Path(arguments.out)
    results.prepare_folder(out, question.files, arguments.overwrite)
    _check_shards(arguments, out / BELOW)
    folder = out.absolute() / FOLDER
    (folder / LOGS).mkdir(parents=True, exist_ok=True)  # SLURM makes no folder for a log, and says nothing then
    jobs = _submit_all(scripts, arguments.shards, folder)
    if not arguments.quiet:
        print(
            f"Submitted {', '.join(f'{name} ({number})' for name, number in jobs.items())}; scripts and logs are in "
            f"{folder}.\nHow far it is: fastsl slurm status {shlex.quote(arguments.out)}"
        )


def _submit_all(scripts: Scripts, n_shards: int, folder: Path) -> dict[str, str]:
    """Write the scripts and submit each behind the one before; all or none. Return the numbers of the jobs."""
    jobs: dict[str, str] = {}
    before: list[str] = []
    for name, text in scripts.texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        try:
            # --parsable prints "number" or "number;cluster".
            number = call(["sbatch", "--parsable", *before, str(folder / name)]).strip().split(";")[0]
        except OSError as error:
            if jobs:
                call(["scancel", *jobs.values()])
            hint = " Many clusters allow arrays of 1,000 tasks: take fewer --shards." if n_shards >= 1000 else ""
            raise OSError(f"{error} Nothing is left in the queue; the scripts are in {folder}.{hint}") from error
        jobs[name.removesuffix(".sh")] = number
        before = [f"--dependency=afterany:{number}"]
    write_json(folder / JOBS, {"name": scripts.name, "shards": n_shards, "jobs": jobs})
    return jobs


def _check_shards(arguments: argparse.Namespace, place: Path) -> None:
    """Refuse to mix with shards of another command, or remove them where they may be replaced."""
    for shard, folder in shard_folders(place).items():
        try:
            manifest = read_manifest(folder)
        except DamagedError:
            continue
        if manifest is None:
            continue
        if manifest.about.get("command_line") == command_line(arguments) and shard.of == arguments.shards:
            continue
        if not arguments.overwrite:
            raise FileExistsError(
                f"--out: {folder} is a shard of another command, or of another number of shards; choose another "
                "folder, or --overwrite to remove it."
            )
        Checkpoint(place).remove()
        return
