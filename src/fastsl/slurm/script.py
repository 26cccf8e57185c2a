"""Scripts for ``sbatch``: plain bash, made to be read and edited."""

import argparse
import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastsl._version import __version__
from fastsl.options import command_line, warmup_line

#: Below the folder of the results.
FOLDER, LOGS = "slurm", "logs"
#: Seconds ahead of the time limit at which SLURM warns a task. It may come a minute earlier.
WARNING = 90

_SITE = """\
# What your site needs goes here: modules, an environment, a container. For instance
#     fastsl=(apptainer exec --bind /data fastsl.sif fastsl)
#     export NUMBA_CACHE_DIR=/tmp/numba-$USER     # a compile cache for each node, where the home folder is slow
"""

_SHARDS = """\
# A task that comes to its time limit puts itself back into the queue, so many times at most.
restarts=${{FASTSL_RESTARTS:-20}}

# SLURM warns this shell (USR1) ahead of the time limit, and ends it (TERM) at the limit or by scancel. Bash obeys a
# trap only when the command in the foreground is over; so fastsl runs in the background, and is handed on what comes.
# It then saves what it has, within a second, and ends with status 75: "again".
at_limit=0
trap 'at_limit=1; kill -USR1 "$task" 2>/dev/null' USR1
trap 'kill -TERM "$task" 2>/dev/null' TERM

{command} &
task=$!
wait "$task"
while kill -0 "$task" 2>/dev/null; do  # a signal came, and fastsl is not yet done
    wait "$task"
done
wait "$task"
status=$?

if ((at_limit && (status == 75 || status > 128) && ${{SLURM_RESTART_COUNT:-0}} < restarts)); then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"
    sleep 60  # until SLURM ends this script
fi
exit "$status"
"""


@dataclass(frozen=True)
class Scripts:
    """Names and texts of the scripts of a run.

    Attributes
    ----------
    name : str
        Of the array job, by which the queue is asked for it.
    texts : dict
        By file: ``warmup.sh`` (where it is wanted), ``shards.sh``, ``merge.sh``, in the order of submission.
    """

    name: str
    texts: dict[str, str]


def job_name(out: Path) -> str:
    """Name of the jobs of a folder, which no other folder has."""
    digest = hashlib.blake2b(str(out.absolute()).encode(), digest_size=3).hexdigest()
    return f"fastsl-{out.absolute().name}-{digest}"


def write_scripts(arguments: argparse.Namespace) -> Scripts:
    """Write the scripts of ``fastsl slurm run``, as text.

    Raises
    ------
    ValueError
        For numbers that cannot be.
    """
    for option in ("shards", "cpus_per_task"):
        if getattr(arguments, option) < 1:
            raise ValueError(f"--{option.replace('_', '-')} must be at least 1, got {getattr(arguments, option)}.")
    out = Path(arguments.out).absolute()
    name = job_name(out)
    further = group_options(arguments.sbatch)
    first_only = [option for option in further if is_option(option, "dependency", "d")]
    of_array = [option for option in further if is_option(option, "array", "a")]
    others = [option for option in further if option not in first_only + of_array]
    size = [f"--mem={arguments.mem}", f"--time={arguments.time}"]
    shards_size = [f"--cpus-per-task={arguments.cpus_per_task}", *size]

    texts = {}
    if not arguments.no_warmup:
        options = _options(out, f"{name}-warmup", "warmup.log", shards_size)
        text = "# Compiles what the shards need, ahead of them: else each of them would, at the same time.\n\n"
        texts["warmup.sh"] = _script(
            [*options, *others, *first_only], text + _SITE, f"exec {_command(warmup_line(arguments))}\n"
        )
    options = [f"--array=1-{arguments.shards}", *shards_size, "--requeue", f"--signal=B:USR1@{WARNING}"]
    options = _options(out, name, "shard-%a.log", options)
    command = _command(command_line(arguments), f'--shard "$SLURM_ARRAY_TASK_ID/{arguments.shards}"')
    text = (
        "# Each task of this array decodes one shard of the spheres, and saves what is done twice a minute. Submitted\n"
        f"# again, a task goes on from there:  sbatch --array=3,7 {shlex.quote(str(out / FOLDER / 'shards.sh'))}\n\n"
    )
    ahead = first_only if arguments.no_warmup else []
    texts["shards.sh"] = _script([*options, *others, *of_array, *ahead], text + _SITE, _SHARDS.format(command=command))
    options = _options(out, f"{name}-merge", "merge.log", ["--cpus-per-task=1", *size, "--kill-on-invalid-dep=yes"])
    line = ["merge", str(out), *(f"--{flag}" for flag in ("picture", "overwrite", "quiet") if getattr(arguments, flag))]
    text = "# Joins the shards. Where some are missing it says which, and how to compute just those.\n\n"
    texts["merge.sh"] = _script([*options, *others], text + _SITE, f"exec {_command(line)}\n")
    return Scripts(name, texts)


def _options(out: Path, name: str, log: str, further: Sequence[str]) -> list[str]:
    place = [f"--chdir={Path.cwd()}", f"--output={out / FOLDER / LOGS / log}", "--open-mode=append"]
    return [_quote(option) for option in (f"--job-name={name}", *further, *place)]


def _script(options: Sequence[str], text: str, body: str) -> str:
    header = "\n".join(f"#SBATCH {option}" for option in options)
    python = shlex.quote(sys.executable)
    return f"#!/bin/bash\n{header}\n\n# Written by fastsl {__version__}.\n{text}fastsl=({python} -m fastsl)\n\n{body}"


def _quote(word: str) -> str:
    """Quote a word for sbatch, which takes double quotes."""
    return f'"{word}"' if any(letter.isspace() for letter in word) else word


def _command(line: Sequence[str], *last: str) -> str:
    """Render a command line, an option a row."""
    rows: list[list[str]] = [[]]
    for word in line:
        if word.startswith("--"):
            rows.append([])
        rows[-1].append(shlex.quote(word))
    rendered = [" ".join(row) for row in rows] + list(last)
    return " \\\n    ".join([f'"${{fastsl[@]}}" {rendered[0]}', *rendered[1:]])


def group_options(words: Sequence[str]) -> list[str]:
    """Join options of sbatch with their values, one entry an option, with quotes where sbatch needs them.

    Examples
    --------
    >>> group_options(["-p", "short", "--mail-type=END", "--comment", "for the paper"])
    ['-p short', '--mail-type=END', '--comment "for the paper"']
    """
    options: list[str] = []
    for word in words:
        if word.startswith("-") or not options:
            options.append(_quote(word))
        else:
            options[-1] += f" {_quote(word)}"
    return options


def is_option(option: str, long: str, short: str) -> bool:
    """Whether an option of sbatch is this one, in its long or short form."""
    return option.startswith((f"--{long}=", f"--{long} ")) or (
        option[:2] == f"-{short}" and not option.startswith("--")
    )
