"""The command line: what each command of :mod:`fastsl.options` does, and the exit status."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastsl._runtime.signals import Stopped
from fastsl.options import make_parser

#: sysexits.h: a temporary failure, "try again". Absent on Windows.
AGAIN = getattr(os, "EX_TEMPFAIL", 75)


def _info(arguments: argparse.Namespace) -> None:
    from fastsl.info import collect, describe

    facts = collect()
    if arguments.estimator is None:
        print(json.dumps(facts, indent=2) if arguments.json else describe(facts))
        return
    from fastsl.explanation import explain
    from fastsl.inputs import one_or_list

    explanation = explain(
        arguments.estimator,
        arguments.volumes,
        arguments.voxels,
        arguments.cv,
        n_spheres=arguments.spheres,
        scoring=one_or_list(arguments.scoring),
        n_jobs=arguments.n_jobs,
        n_permutations=arguments.permutations,
    )
    if arguments.json:
        print(json.dumps({**facts, "explanation": {**asdict(explanation), "seconds": explanation.seconds}}, indent=2))
    else:
        print(explanation)


def _phantom(arguments: argparse.Namespace) -> None:
    from fastsl.phantom import make_phantom

    phantom = make_phantom(arguments.voxel_size, seed=arguments.seed)
    folder = phantom.save(arguments.folder)
    n_voxels = int((phantom.mask_img.get_fdata() > 0).sum())
    print(
        f"{folder}: bold.nii ({phantom.img.shape[3]} volumes), mask.nii.gz ({n_voxels} voxels), "
        "signal.nii.gz, labels.tsv"
    )


def _run(arguments: argparse.Namespace) -> None:
    from fastsl.run import run

    run(arguments)


def _merge(arguments: argparse.Namespace) -> None:
    from fastsl.run import merge_shards

    merge_shards(arguments)


def _slurm(arguments: argparse.Namespace) -> None:
    if arguments.action == "run":
        from fastsl.slurm.submit import submit

        submit(arguments)
    else:
        from fastsl.slurm.status import status

        print(status(arguments.folder))


def _warmup(arguments: argparse.Namespace) -> None:
    from fastsl.warmup import warm_up

    warm_up(arguments)


_COMMANDS: dict[str, Any] = {
    "run": _run,
    "merge": _merge,
    "slurm": _slurm,
    "info": _info,
    "warmup": _warmup,
    "phantom": _phantom,
}


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; what ``slurm run`` has behind ``--`` is sbatch's."""
    mine, sbatch = list(argv), []
    if mine[:2] == ["slurm", "run"] and "--" in mine:
        place = mine.index("--")
        mine, sbatch = mine[:place], mine[place + 1 :]
    arguments = make_parser().parse_args(mine)
    arguments.sbatch = sbatch
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, 1 for an error, 75 for "again", 130 after Ctrl-C.

    An error that the user can mend is one line on stderr. Anything else is a defect of fastsl and keeps its traceback.
    """
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    command = f"fastsl {arguments.command}"

    def one_line(message: Any, *_: Any, **__: Any) -> None:
        print(f"{command}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = one_line
            for category in (RuntimeWarning, UserWarning):
                warnings.simplefilter("default", category)
            _COMMANDS[arguments.command](arguments)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        text = str(error) if hasattr(error, "commands") else " ".join(str(error).split())
        print(f"{command}: {text or type(error).__name__}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interruption:
        print(f"{command}: interrupted; {interruption or 'nothing was written.'}", file=sys.stderr)
        return 130
    except Stopped as stop:
        print(f"{command}: stopped by {stop.name}; {stop}", file=sys.stderr)
        return AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
