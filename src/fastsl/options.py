"""Commands and options of the command line."""

import argparse
from typing import Any

from fastsl._version import __version__

_EXAMPLE = """\
example (leave-one-run-out, faces against houses):
  fastsl run --imgs bold.nii.gz --mask mask.nii.gz --labels labels.tsv --target condition \\
      --keep face,house --groups run --standardize --radius 8 --out results

A run that was interrupted goes on from its last half minute when the same command is given again.
"""
_CLUSTER = """\
example (eight jobs of four processors, then one that joins them):
  fastsl slurm run --imgs bold.nii.gz --mask mask.nii.gz --labels labels.tsv --target condition \\
      --groups run --standardize --radius 8 --out results \\
      --shards 8 --cpus-per-task 4 --mem 4G --time 1:00:00 -- --partition=short
  fastsl slurm status results
"""
_STATUS = """\
exit status: 0 done, 1 an error (one line says which), 2 a command line that makes no sense, 75 stopped by a signal:
what is done is saved, give the same command again, 130 Ctrl-C (as 75)
"""

#: Options that say how, not what: a result does not depend on them, and no shard needs to be told.
_NOT_OF_A_SHARD = ("shard", "picture", "overwrite")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of ``fastsl``."""
    parser = argparse.ArgumentParser(
        prog="fastsl",
        description="Whole-brain searchlight decoding of fMRI images.",
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastsl {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _add(commands, "run", "score the sphere around every voxel", _EXAMPLE)
    _add_run(run)
    parts = run.add_argument_group("parts")
    parts.add_argument(
        "--shard", metavar="I/N", help="score the I-th of N parts only, counted from 1; fastsl merge joins the parts"
    )
    _add_merge(_add(commands, "merge", "join what 'fastsl run --shard' wrote"))
    _add_slurm(_add(commands, "slurm", "run on a cluster, and see how far it is", _CLUSTER))
    _add_info(
        _add(commands, "info", "versions, threads, cache; with --estimator: which path a run would take, and how long")
    )
    epilog = "Without --labels, for two classes or for values: runs of more classes may take other kernels."
    _add_warmup(_add(commands, "warmup", "compile what a run would compile, ahead of it", epilog))
    phantom = _add(commands, "phantom", "write a made-up data set with a known answer")
    phantom.add_argument("folder", metavar="DIR")
    phantom.add_argument("--voxel-size", type=float, default=3.0, metavar="MM", help="(default: %(default)g)")
    phantom.add_argument("--seed", type=int, default=0)
    return parser


def _add(commands: Any, name: str, text: str, epilog: str | None = None) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter)


def _add_run(run: argparse.ArgumentParser) -> None:
    data = run.add_argument_group("data")
    data.add_argument("--imgs", nargs="+", required=True, metavar="FILE", help="4-D image, or several in order of time")
    data.add_argument("--mask", metavar="FILE", help="voxels that may enter a sphere")
    data.add_argument("--process-mask", metavar="FILE", help="centres of spheres (default: all of --mask)")
    _add_labels(data, required=True)
    data.add_argument(
        "--standardize",
        action="store_true",
        help="z-score each voxel within each run of --groups, over the volumes kept",
    )
    how = run.add_argument_group("analysis")
    how.add_argument("--radius", type=float, default=8.0, metavar="MM", help="of the spheres (default: %(default)g)")
    _add_analysis(how)
    how.add_argument(
        "--min-voxels", type=int, default=1, metavar="N", help="smaller spheres score NaN (default: %(default)s)"
    )
    how.add_argument(
        "--n-jobs", type=int, default=-1, metavar="N", help="threads; -1: all that this job may use (default)"
    )
    _add_test(run.add_argument_group("permutation test"))
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
    out.add_argument(
        "--overwrite", action="store_true", help="replace the results, and unfinished ones of other settings, in DIR"
    )
    out.add_argument("--quiet", action="store_true", help="say nothing but errors")


def _add_test(test: Any) -> None:
    test.add_argument(
        "--permutations",
        type=int,
        default=0,
        metavar="N",
        help="decode N permutations of the labels too: p_unc, p_fwe and z.nii.gz (RidgeClassifier is the fastest)",
    )
    test.add_argument(
        "--scheme",
        default="within_groups",
        choices=("within_groups", "whole_groups", "free", "sign_flip"),
        help="what may be exchanged (default: %(default)s: labels within each run of --groups)",
    )
    test.add_argument("--seed", type=int, default=0, metavar="N", help="of permutations and decoders (default: 0)")
    test.add_argument("--tfce", action="store_true", help="threshold-free cluster enhancement: tfce, p_tfce.nii.gz")
    test.add_argument(
        "--cluster-threshold", type=float, metavar="Z", help="clusters of z above this, such as 3.1: clusters.tsv"
    )
    test.add_argument(
        "--connectivity", type=int, default=26, choices=(6, 18, 26), help="neighbours of a voxel (default: %(default)s)"
    )
    test.add_argument("--keep-null", action="store_true", help="also write all permuted maps, for a group: null.npy")


def _add_labels(data: Any, *, required: bool) -> None:
    data.add_argument(
        "--labels", required=required, metavar="FILE", help="table (.tsv, .csv), one row a volume, with a header"
    )
    data.add_argument("--target", required=required, metavar="COLUMN", help="column of --labels to decode")
    data.add_argument("--groups", metavar="COLUMN", help="column with the run (session, ...) of each volume")
    data.add_argument("--keep", metavar="A,B", help="use only volumes whose target is one of these")


def _add_analysis(how: Any) -> None:
    how.add_argument(
        "--estimator",
        default="svc",
        metavar="NAME",
        help="svc, RidgeClassifier (the fastest with --permutations), ridge_classifier (nilearn's: RidgeClassifierCV, "
        "six times slower), Ridge, ridge (RidgeCV), ... (default: %(default)s)",
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


def _add_merge(merge: argparse.ArgumentParser) -> None:
    merge.add_argument("folder", metavar="DIR", help="the --out of the shards")
    merge.add_argument(
        "--allow-missing", action="store_true", help="make maps with holes, NaN where a shard is missing"
    )
    merge.add_argument("--picture", action="store_true", help="also draw scores.png (needs matplotlib)")
    merge.add_argument("--overwrite", action="store_true", help="replace the results that are in DIR")
    merge.add_argument("--quiet", action="store_true", help="say nothing but errors")


def _add_slurm(slurm: argparse.ArgumentParser) -> None:
    actions = slurm.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = _add(actions, "run", "submit shards as an array job, and a job that joins them", _CLUSTER)
    _add_run(run)
    job = run.add_argument_group("jobs (any other option of sbatch goes behind --)")
    job.add_argument("--shards", type=int, required=True, metavar="N", help="parts, each a task of the array")
    job.add_argument(
        "--cpus-per-task", type=int, required=True, metavar="C", help="processors, thus threads, of a part"
    )
    job.add_argument("--mem", required=True, metavar="M", help="memory of a part, such as 4G")
    job.add_argument("--time", required=True, metavar="T", help="time limit of a part, such as 1:00:00")
    job.add_argument(
        "--no-warmup", action="store_true", help="no job ahead that compiles: the compile cache is warm, or per node"
    )
    job.add_argument("--dry-run", action="store_true", help="print the scripts; write and submit nothing")
    status = _add(
        actions, "status", "which shards are done, running, failed or missing, and how to run just the latter"
    )
    status.add_argument("folder", metavar="DIR", help="the --out of the shards")


def _add_info(info: argparse.ArgumentParser) -> None:
    info.add_argument("--json", action="store_true", help="for programs")
    info.add_argument("--estimator", metavar="NAME", help="explain and time a run with this estimator")
    info.add_argument("--scoring", nargs="+", metavar="NAME", help="of that run")
    info.add_argument("--cv", type=int, default=6, metavar="N", help="folds of that run (default: %(default)s)")
    info.add_argument("--volumes", type=int, default=120, metavar="N", help="images (default: %(default)s)")
    info.add_argument(
        "--voxels", type=int, default=257, metavar="N", help="voxels in a sphere (default: %(default)s: 8 mm at 2 mm)"
    )
    info.add_argument("--spheres", type=int, default=235_375, metavar="N", help="(default: %(default)s, 2 mm brain)")
    info.add_argument("--permutations", type=int, default=0, metavar="N", help="of that run (default: none)")
    info.add_argument("--n-jobs", type=int, default=-1, metavar="N", help="threads (default: all)")


def _add_warmup(warmup: argparse.ArgumentParser) -> None:
    _add_labels(warmup, required=False)
    _add_analysis(warmup)
    warmup.add_argument("--permutations", type=int, default=0, metavar="N", help="of the run (default: none)")
    warmup.add_argument("--keep-predictions", action="store_true", help="of the run")
    warmup.add_argument("--keep-confusion", action="store_true", help="of the run")
    warmup.add_argument("--quiet", action="store_true", help="say nothing but errors")


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Options of a run by name, for the record: what was decided, without how it was split."""
    names = {action.dest for action in _run_actions()}
    return {name: value for name, value in vars(arguments).items() if name in names}


def command_line(arguments: argparse.Namespace, *, of_shard: bool = True) -> list[str]:
    """Words that give the same options to ``fastsl run``; by default those that a shard needs.

    Examples
    --------
    >>> line = "run --imgs a.nii b.nii --labels l.tsv --target t --radius 4 --out o --picture".split()
    >>> " ".join(command_line(make_parser().parse_args(line)))
    'run --imgs a.nii b.nii --labels l.tsv --target t --radius 4.0 --out o'
    """
    return ["run", *_words(_run_actions(), arguments, leave_out=_NOT_OF_A_SHARD if of_shard else ())]


def warmup_line(arguments: argparse.Namespace) -> list[str]:
    """Words that give the same decoder and folds to ``fastsl warmup``."""
    parser = argparse.ArgumentParser()
    _add_warmup(parser)
    return ["warmup", *_words(parser._actions, arguments, leave_out=())]


def _run_actions() -> list[argparse.Action]:
    parser = argparse.ArgumentParser()
    _add_run(parser)
    return [action for action in parser._actions if action.dest != "help"]


def _words(actions: list[argparse.Action], arguments: argparse.Namespace, leave_out: tuple[str, ...]) -> list[str]:
    words = []
    for action in actions:
        value = getattr(arguments, action.dest, None)
        if action.dest == "help" or action.dest in leave_out or value == action.default:
            continue
        name = action.option_strings[0]
        if value is True:
            words.append(name)
        elif isinstance(value, list):
            words += [name, *map(str, value)]
        else:  # what begins with a dash would be taken for an option
            words += [f"{name}={value}"] if str(value).startswith("-") else [name, str(value)]
    return words
