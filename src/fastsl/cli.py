"""The command line: ``fastsl run``, ``fastsl info``, ``fastsl phantom``."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from fastsl._version import __version__

_EXAMPLE = """\
example (leave-one-run-out, faces against houses):
  fastsl run --imgs bold.nii.gz --mask mask.nii.gz --labels labels.tsv --target condition \\
      --keep face,house --groups run --standardize --radius 8 --out results
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastsl", description="Whole-brain searchlight decoding of fMRI images.")
    parser.add_argument("--version", action="version", version=f"fastsl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="score the sphere around every voxel",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    data = run.add_argument_group("data")
    data.add_argument("--imgs", nargs="+", required=True, metavar="FILE", help="4-D image, or several in order of time")
    data.add_argument("--mask", metavar="FILE", help="voxels that may enter a sphere")
    data.add_argument("--process-mask", metavar="FILE", help="centres of spheres (default: all of --mask)")
    data.add_argument(
        "--labels", required=True, metavar="FILE", help="table (.tsv, .csv), one row a volume, with a header"
    )
    data.add_argument("--target", required=True, metavar="COLUMN", help="column of --labels to decode")
    data.add_argument("--groups", metavar="COLUMN", help="column with the run (session, ...) of each volume")
    data.add_argument("--keep", metavar="A,B", help="use only volumes whose target is one of these")
    data.add_argument(
        "--standardize",
        action="store_true",
        help="z-score each voxel within each run of --groups, over the volumes kept",
    )
    how = run.add_argument_group("analysis")
    how.add_argument("--radius", type=float, default=8.0, metavar="MM", help="of the spheres (default: %(default)g)")
    how.add_argument(
        "--estimator", default="svc", metavar="NAME", help="svc, ridge_classifier, ridge, ... (default: %(default)s)"
    )
    how.add_argument(
        "--cv",
        default=None,
        metavar="logo|N",
        help="leave one group out, or N folds (default: logo with --groups, else 5)",
    )
    how.add_argument(
        "--split",
        metavar="COLUMN",
        help="train on the rows where this column says 'train', test on those that say 'test' (in place of --cv)",
    )
    how.add_argument(
        "--scoring",
        nargs="+",
        metavar="NAME",
        help="one or more scikit-learn scorers (default: accuracy, r2 for regressors)",
    )
    how.add_argument(
        "--min-voxels", type=int, default=1, metavar="N", help="smaller spheres score NaN (default: %(default)s)"
    )
    how.add_argument(
        "--n-jobs", type=int, default=-1, metavar="N", help="threads; -1: all that this job may use (default)"
    )
    out = run.add_argument_group("output")
    out.add_argument(
        "--out", required=True, metavar="DIR", help="folder for scores.nii.gz, n_voxels.nii.gz and result.json"
    )
    out.add_argument(
        "--keep-predictions",
        action="store_true",
        help="also write every sphere's held-out predictions: predictions.npy, decisions.npy, predictions.tsv",
    )
    out.add_argument("--keep-confusion", action="store_true", help="also write confusion.npy, a matrix for each sphere")
    out.add_argument("--picture", action="store_true", help="also draw scores.png (needs matplotlib)")
    out.add_argument("--overwrite", action="store_true", help="replace the results that are in DIR")
    out.add_argument("--quiet", action="store_true", help="say nothing but errors")

    info = commands.add_parser(
        "info", help="versions, threads, cache; with --estimator: which path a run would take, and how long"
    )
    info.add_argument("--json", action="store_true", help="for programs")
    info.add_argument("--estimator", metavar="NAME", help="explain and time a run with this estimator")
    info.add_argument("--scoring", nargs="+", metavar="NAME", help="of that run")
    info.add_argument("--cv", type=int, default=6, metavar="N", help="folds of that run (default: %(default)s)")
    info.add_argument("--volumes", type=int, default=120, metavar="N", help="images (default: %(default)s)")
    info.add_argument(
        "--voxels", type=int, default=257, metavar="N", help="voxels in a sphere (default: %(default)s: 8 mm at 2 mm)"
    )
    info.add_argument("--spheres", type=int, default=235_375, metavar="N", help="(default: %(default)s, 2 mm brain)")
    info.add_argument("--n-jobs", type=int, default=-1, metavar="N", help="threads (default: all)")

    phantom = commands.add_parser("phantom", help="write a made-up data set with a known answer")
    phantom.add_argument("folder", metavar="DIR")
    phantom.add_argument("--voxel-size", type=float, default=3.0, metavar="MM", help="(default: %(default)g)")
    phantom.add_argument("--seed", type=int, default=0)
    return parser


def one_or_list(names: list[str] | None) -> str | list[str] | None:
    """Scorers of the command line as ``scoring`` takes them."""
    return names[0] if names is not None and len(names) == 1 else names


def _info(arguments: argparse.Namespace) -> None:
    from fastsl.info import collect, describe

    facts = collect()
    if arguments.estimator is None:
        print(json.dumps(facts, indent=2) if arguments.json else describe(facts))
        return
    from fastsl.explanation import explain

    explanation = explain(
        arguments.estimator,
        arguments.volumes,
        arguments.voxels,
        arguments.cv,
        n_spheres=arguments.spheres,
        scoring=one_or_list(arguments.scoring),
        n_jobs=arguments.n_jobs,
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


_COMMANDS: dict[str, Any] = {"run": _run, "info": _info, "phantom": _phantom}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 0, 1 for an error, 130 after Ctrl-C.

    An error that the user can mend is one line on stderr. Anything else is a defect of fastsl and keeps its traceback.
    """
    arguments = _parser().parse_args(argv)

    def one_line(message: Any, *_: Any, **__: Any) -> None:
        print(f"fastsl {arguments.command}: warning: {' '.join(str(message).split())}", file=sys.stderr)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = one_line
            for category in (RuntimeWarning, UserWarning):
                warnings.simplefilter("default", category)
            _COMMANDS[arguments.command](arguments)
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"fastsl {arguments.command}: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fastsl {arguments.command}: interrupted; nothing was written.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
