"""``fastsl run`` and ``fastsl merge``: from files to files."""

import argparse
import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl import results
from fastsl._runtime.signals import Stopped, watching
from fastsl.checkpoints.recorder import Checkpoint
from fastsl.checkpoints.shards import WHOLE, Shard
from fastsl.estimators import make_estimator
from fastsl.images import Series, open_image
from fastsl.inputs import make_cv, one_or_list, select
from fastsl.labels import LabelTable
from fastsl.merging import BELOW, find_shards, merge, survey
from fastsl.options import command_line, settings
from fastsl.record import check_writable, checksums
from fastsl.searchlight import SearchLight


@dataclass(frozen=True, eq=False)
class Question:
    """What a command line asks for, checked as far as headers and tables go: no voxel has been read."""

    series: Series
    keep: NDArray[np.bool_]
    y: NDArray[Any]
    groups: NDArray[Any] | None
    cv: Any
    files: list[str]


def read_question(arguments: argparse.Namespace) -> Question:
    """Read headers and labels.

    Raises
    ------
    TypeError, ValueError, OSError, ImportError
        For what cannot be right.
    """
    files = results.files_of(vars(arguments))
    make_estimator(arguments.estimator)  # an unknown name is an error before any file is read
    if arguments.mask is None and arguments.process_mask is None:
        raise ValueError(
            "--mask is missing: give the mask of the voxels that may enter a sphere, or --process-mask, that of the "
            "centres, to use every voxel of the images."
        )
    series = Series(arguments.imgs)
    for path, what in ((arguments.mask, "mask_img"), (arguments.process_mask, "process_mask_img")):
        if path is not None:
            open_image(path, what)
    keep, y, groups, split = select(LabelTable(arguments.labels), arguments, series.n_volumes)
    if arguments.standardize and groups is None:
        raise ValueError("--standardize works within runs: name the column of runs with --groups.")
    return Question(series, keep, y, groups, make_cv(arguments.cv, split, groups is not None), files)


def run(arguments: argparse.Namespace) -> None:
    """Decode, write maps, result.json and what else was asked for, and say what was done.

    With ``--shard`` only blocks are written, for :func:`merge_shards`.

    Raises
    ------
    Stopped, KeyboardInterrupt
        With what is saved and how to go on, as text.
    """
    with _no_empty_folder(Path(arguments.out)):
        _run(arguments)


@contextmanager
def _no_empty_folder(out: Path) -> Iterator[None]:
    """Remove ``out`` after an error, if this run made it and nothing was written."""
    keep = out.exists()
    try:
        yield
        keep = True
    finally:
        if not keep:
            with suppress(OSError):  # it was not made, or has files, or another shard's run has begun
                out.rmdir()


def _run(arguments: argparse.Namespace) -> None:
    began = time.time()
    out = Path(arguments.out)
    shard = None if arguments.shard is None else Shard.parse(arguments.shard)
    question = read_question(arguments)
    if shard is None:
        # Maps without the record, which is the last to be written, beside blocks: a run that ended while it wrote them.
        is_unfinished = (out / BELOW / WHOLE.folder).exists() and not (out / "result.json").exists()
        results.prepare_folder(out, question.files, arguments.overwrite or is_unfinished)
    else:
        check_writable(out, "--out")
    about = _about(arguments, question)
    checkpoint = Checkpoint(out / BELOW, about, may_replace=arguments.overwrite)
    # In the folder that this process alone holds while it decodes, and from which they move when all is done.
    arrays = out / BELOW / WHOLE.folder / "arrays"
    searchlight = SearchLight(
        arguments.mask,
        arguments.process_mask,
        arguments.radius,
        arguments.estimator,
        arguments.n_jobs,
        one_or_list(arguments.scoring),
        question.cv,
        verbose=0 if arguments.quiet else 2,
        min_voxels=arguments.min_voxels,
        standardize=arguments.standardize,
        keep_predictions=arrays if arguments.keep_predictions else False,
        keep_confusion=arguments.keep_confusion,
        checkpoint=checkpoint,
        random_state=arguments.seed,
        n_permutations=arguments.permutations,
        permutation_scheme=arguments.scheme,
        tfce=arguments.tfce,
        cluster_threshold=arguments.cluster_threshold,
        connectivity=arguments.connectivity,
        keep_null=arrays if arguments.keep_null else None,
    )
    searchlight._keeps_images = False
    try:
        with watching():
            searchlight.fit(question.series.select(question.keep), question.y, question.groups, shard=shard)
    except (Stopped, KeyboardInterrupt) as error:
        error.args = (_what_is_saved(checkpoint),)
        raise
    finally:
        checkpoint.remove_if_empty()
    seconds = round(time.time() - began, 3)
    if shard is not None:
        _say_what_a_shard_did(arguments, searchlight, shard, seconds)
        return
    try:
        files = results.write(searchlight, out, arrays, about, {"seconds": seconds})
    except OSError as error:
        raise OSError(
            f"--out: cannot write to {out} ({error.strerror or error}). All spheres are saved in {checkpoint.folder}: "
            "make room, and give the same command again."
        ) from error
    checkpoint.remove()
    if not arguments.quiet:
        print(results.summary(searchlight, f"in {seconds:.1f} s", out, files))


def _about(arguments: argparse.Namespace, question: Question) -> dict[str, Any]:
    """What is known before the work and belongs into the record, in words that JSON has."""
    y, groups = question.y, question.groups
    inputs = [*question.series.names, arguments.labels, arguments.mask, arguments.process_mask]
    values, counts = np.unique(y, return_counts=True)
    return {
        "command": settings(arguments),
        "command_line": command_line(arguments),
        "inputs_sha256": checksums(path for path in inputs if path is not None),
        "y": y.tolist(),
        "targets": {str(value): int(count) for value, count in zip(values[:100], counts[:100], strict=True)},
        "groups": None if groups is None else [str(group) for group in np.unique(groups)],
    }


def _what_is_saved(checkpoint: Checkpoint) -> str:
    if not checkpoint.n_saved:
        return "nothing was written."
    return (
        f"{checkpoint.n_saved} of {checkpoint.n_wanted} spheres are saved in {checkpoint.folder}; give the same "
        "command again to go on from there."
    )


def _say_what_a_shard_did(
    arguments: argparse.Namespace, searchlight: SearchLight, shard: Shard, seconds: float
) -> None:
    if not arguments.quiet:
        print(
            f"shard {shard}: {searchlight.n_elements_} spheres in {seconds:.1f} s, saved in "
            f"{Path(arguments.out) / BELOW / shard.folder}.\n"
            f"When all shards are done: fastsl merge {shlex.quote(arguments.out)}"
        )


def merge_shards(arguments: argparse.Namespace) -> None:
    """Join the shards below a folder, and write what one run would have written there."""
    began = time.time()
    out = Path(arguments.folder)
    about = survey(find_shards(out)).reference.about
    if "command" not in about:
        raise ValueError(
            f"the shards in {out} were made in Python, by SearchLight: join them with fastsl.merge({str(out)!r})."
        )
    about = {**about, "command": {**about["command"], "picture": arguments.picture or about["command"]["picture"]}}
    results.prepare_folder(out, results.files_of(about["command"]), arguments.overwrite)
    with tempfile.TemporaryDirectory(prefix="arrays-", dir=out / BELOW) as arrays:
        merged = merge(
            out,
            allow_missing=arguments.allow_missing,
            keep_predictions=arrays,
            keep_null=arrays if about["command"]["keep_null"] else None,
        )
        took_part = {"processors": dict(merged.processors_), "hosts": dict(merged.hosts_), "missing": merged.missing_}
        files = results.write(merged, out, Path(arrays), about, {"merged": took_part})
    if not arguments.quiet:
        processors = ", ".join(f"{name} ({n} spheres)" for name, n in merged.processors_.most_common())
        print(results.summary(merged, f"merged in {time.time() - began:.1f} s", out, files))
        print(f"Processors that took part: {processors}")
        if not merged.missing_:
            print(f"The shards in {out / BELOW} are no longer needed.")
