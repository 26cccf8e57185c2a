"""Calls of SLURM's own commands."""

import os
import shutil
import subprocess
from collections.abc import Sequence

#: What SLURM sets in a job, and what must not go from there into a job that is submitted from it: memory per node and
#: per processor, for instance, exclude each other.
_OF_A_JOB = ("SLURM_", "SRUN_")
_SECONDS = 60


def is_here(command: str = "sbatch") -> bool:
    """Whether this machine has the command."""
    return shutil.which(command) is not None


def call(command: Sequence[str]) -> str:
    """Return what a command prints.

    Raises
    ------
    OSError
        When it is not here, fails, or does not answer within a minute: with what it said.
    """
    if not is_here(command[0]):
        raise OSError(
            f"there is no {command[0]} here: submit from a machine of the cluster that has it, or print the scripts "
            "with --dry-run."
        )
    environment = {
        name: value for name, value in os.environ.items() if name == "SLURM_CONF" or not name.startswith(_OF_A_JOB)
    }
    try:
        done = subprocess.run(
            list(command), env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} did not answer within {_SECONDS} seconds.") from error
    if done.returncode != 0:
        raise OSError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip() or done.returncode}.")
    return done.stdout
