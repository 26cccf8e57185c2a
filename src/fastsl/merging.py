"""``merge``: shards on disk become the result of one run, or it is said what is missing and how to get it."""

import os
import shlex
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastsl.checkpoints.blocks import Block, DamagedError, find_files, gaps
from fastsl.checkpoints.fingerprint import differences
from fastsl.checkpoints.manifest import Manifest, layout_bytes, left_to_do, read_layout, read_manifest, shard_folders
from fastsl.checkpoints.shards import Shard
from fastsl.collected import Collector
from fastsl.kept import Keep
from fastsl.maps import Maps
from fastsl.significance import Significance

#: Folder of the shards below the folder of the results of ``fastsl run``.
BELOW = "checkpoint"


class IncompleteError(ValueError):
    """Shards are missing, unfinished, damaged or of another analysis: there is no whole map.

    Attributes
    ----------
    problems : dict
        What is wrong, by :class:`fastsl.checkpoints.shards.Shard`.
    commands : list of str
        How to compute just these shards.
    """

    def __init__(self, of: int, problems: Mapping[Shard, str], commands: list[str]) -> None:
        lines = [f"  shard {shard}: {problem}" for shard, problem in problems.items()]
        super().__init__(
            "\n".join(
                [
                    f"{len(problems)} of {of} shards cannot be joined, and no map is made with holes unless told to "
                    "(allow_missing, --allow-missing):",
                    *lines,
                    "These commands compute just what is missing:",
                    *(f"  {command}" for command in commands),
                ]
            )
        )
        self.problems, self.commands = dict(problems), commands


@dataclass(frozen=True)
class Survey:
    """What is in a folder of shards.

    Attributes
    ----------
    reference : Manifest
        Of the analysis that most shards belong to.
    folders : dict
        Of its shards, by shard.
    problems : dict
        What is wrong with a shard, or a folder, by shard; shards that are whole are not in it.
    """

    reference: Manifest
    folders: dict[Shard, Path]
    problems: dict[Shard, str]
    foreign: frozenset[Shard]


class Merged(Maps):
    """Result of :func:`merge`: the attributes of a fitted :class:`fastsl.SearchLight`, and who computed them.

    Attributes
    ----------
    scores_, scores_img_, masked_scores_, fold_scores_, n_voxels_, n_voxels_img_, predictions_, ...
        As of :class:`fastsl.SearchLight`.
    processors_ : dict
        Number of spheres that each model of processor computed. Scores of two models may differ in the last bit.
    hosts_ : dict
        Number of spheres that each machine computed.
    missing_ : dict
        What is wrong with a shard, by its number; empty unless holes were allowed.
    about_ : dict
        What the command line noted of the run.
    """

    def __init__(self) -> None:
        self.processors_: Counter[str] = Counter()
        self.hosts_: Counter[str] = Counter()
        self.missing_: dict[str, str] = {}
        self.about_: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Merged({self.n_elements_} spheres, {len(self.missing_)} shards missing)"

    def _count(self, block: Block, about: Mapping[str, Any]) -> None:
        self.processors_[about["processor"]] += len(block.sizes)
        self.hosts_[about["host"]] += len(block.sizes)


def find_shards(folder: Path) -> Path:
    """Folder that holds the shards: ``folder`` itself, or ``checkpoint`` below it.

    Raises
    ------
    FileNotFoundError
        When neither does.
    """
    for place in (folder / BELOW, folder):
        if shard_folders(place):
            return place
    raise FileNotFoundError(
        f"there is no shard in {folder}: give the folder that 'fastsl run --shard' had as --out, or that SearchLight "
        "had as checkpoint. (The shards of a plain 'fastsl run' are removed when it is done.)"
    )


def survey(folder: Path) -> Survey:
    """Look at names and manifests in a folder of shards; the blocks themselves are not read.

    Raises
    ------
    ValueError
        When no shard says which analysis it belongs to.
    """
    folders = shard_folders(folder)
    manifests, problems = _read_manifests(folders)
    if not manifests:
        raise ValueError(f"no shard in {folder} can be read: {next(iter(problems.values()))}.")
    ((common, _),) = Counter(one.fingerprint for one in manifests.values()).most_common(1)
    reference = next(one for one in manifests.values() if one.fingerprint == common)
    foreign = frozenset(shard for shard, one in manifests.items() if one.fingerprint != common)
    for shard in foreign:
        differ = differences(manifests[shard].words, reference.words) or f"it is one of {shard.of} shards"
        problems[shard] = f"{folders[shard]} belongs to another analysis; what differs: {differ}"
    own = {shard: folders[shard] for shard in manifests if shard not in foreign}
    for number in range(1, reference.shard.of + 1):
        shard = Shard(number, reference.shard.of)
        if shard in own:
            left = sum(b - a for a, b in left_to_do(own[shard], manifests[shard]))
            if left:
                n = manifests[shard].stop - manifests[shard].first
                problems[shard] = f"{n - left} of {n} spheres are done"
        elif shard not in problems:
            problems[shard] = "missing"
    ordered = sorted(problems, key=lambda shard: (shard.of, shard.number))
    return Survey(reference, own, {shard: problems[shard] for shard in ordered}, foreign)


def _read_manifests(folders: Mapping[Shard, Path]) -> tuple[dict[Shard, Manifest], dict[Shard, str]]:
    """What shards say of themselves, and what is wrong with those that say nothing that can be trusted."""
    manifests: dict[Shard, Manifest] = {}
    problems: dict[Shard, str] = {}
    for shard, path in folders.items():
        try:
            manifest = read_manifest(path)
            if manifest is not None:
                layout_bytes(path, manifest)
        except DamagedError as error:
            problems[shard] = str(error)
            continue
        if manifest is None:
            problems[shard] = f"{path} has no manifest"
        elif manifest.shard != shard:
            problems[shard] = f"{path} was shard {manifest.shard} when it was computed"
        else:
            manifests[shard] = manifest
    return manifests, problems


def merge(
    folder: str | os.PathLike[str],
    *,
    allow_missing: bool = False,
    keep_predictions: str | os.PathLike[str] | None = None,
    keep_null: str | os.PathLike[str] | None = None,
) -> Merged:
    """Join the shards in a folder to what one run would have given, to the last bit.

    Every block is checked against its checksum, and every shard against the analysis that most of them belong to:
    settings, labels, images, seeds, versions.

    Parameters
    ----------
    folder : path
        ``checkpoint`` of :class:`fastsl.SearchLight`, or ``--out`` of ``fastsl run --shard``.
    allow_missing : bool
        Make maps with holes: NaN where a shard is missing, unfinished, damaged or of another analysis.
    keep_predictions : path, optional
        Folder for predictions, decision values and confusion matrices, where the shards kept them; in memory by
        default.
    keep_null : path, optional
        Folder for the maps under permuted labels.

    Returns
    -------
    Merged
        With the attributes of a fitted ``SearchLight``.

    Raises
    ------
    IncompleteError
        A ValueError that names every shard that cannot be joined, and the commands that compute just these.
    ValueError
        For keep_null where the shards have no permutations.
    FileNotFoundError
        When there is no shard.

    Examples
    --------
    >>> import tempfile
    >>> from fastsl import SearchLight, make_phantom, merge
    >>> phantom = make_phantom(voxel_size=12, n_runs=4)
    >>> folder = tempfile.mkdtemp()
    >>> searchlight = SearchLight(phantom.mask_img, radius=16, n_jobs=1, checkpoint=folder)
    >>> for i in (2, 1):
    ...     part = searchlight.fit(phantom.img, phantom.labels["condition"], shard=(i, 2))
    >>> merge(folder).n_elements_ == int(phantom.mask_img.get_fdata().sum())
    True
    """
    folder = Path(folder).expanduser()
    found = survey(find_shards(folder))
    if found.problems and not allow_missing:
        raise _incomplete(found, folder)
    manifest = found.reference
    layout, process_mask, affine = read_layout(found.folders[manifest.shard], manifest)
    if keep_null is not None and not layout.n_permutations:
        raise ValueError(
            f"keep_null={str(keep_null)!r}: the shards in {folder} were decoded without permutations: there are no "
            "permuted maps to keep. Leave keep_null out, or decode the shards again with n_permutations."
        )
    test = Significance(layout.n_permutations, folder=None if keep_null is None else Path(keep_null), **manifest.test)
    keep = test.keep(
        Keep(
            manifest.keep["predictions"],
            manifest.keep["confusion"],
            None if keep_predictions is None else Path(keep_predictions),
        ),
        is_part=bool(found.problems),
    )
    collector, merged = Collector(layout, manifest.n_centres, keep), Merged()
    problems = {**found.problems, **_collect(found, collector, merged)}
    if problems and not allow_missing:
        raise _incomplete(replace(found, problems=problems), folder)
    result = collector.finish(is_part=bool(problems))
    merged._fill(layout, result, process_mask, affine)
    merged._fill_significance(test, result, is_part=bool(problems))
    merged.about_ = manifest.about
    merged.missing_ = {str(shard): problem for shard, problem in problems.items()}
    _warn(merged)
    return merged


def _collect(found: Survey, collector: Collector, merged: Merged) -> dict[Shard, str]:
    """Put the blocks of all shards together; return what is wrong with files, by shard."""
    manifest = found.reference
    problems: dict[Shard, str] = {}
    covered = []
    for shard, path in found.folders.items():
        for file in find_files(path):
            try:
                blocks, about = file.read()
                if about["fingerprint"] != manifest.fingerprint:
                    raise DamagedError(f"{file.path} belongs to another analysis")
            except DamagedError as error:
                problems[shard] = str(error)
                continue
            for block in blocks:
                collector.put(*block)
                merged._count(block, about)
            covered.append((file.start, file.stop))
    holes = gaps(covered, 0, manifest.n_centres)
    if holes and not (problems or found.problems):
        raise ValueError(
            f"the shards are whole, but the centres {holes[0][0]} to {holes[0][1] - 1} are in none of them: they were "
            "cut in different ways. Remove them and compute all again, with one version of fastsl."
        )
    for hole in holes:
        collector.leave_out(*hole)
    return problems


def _warn(merged: Merged) -> None:
    if merged.missing_:
        warnings.warn(
            f"the map has holes, NaN where nothing is known. Shards: "
            f"{'; '.join(f'{shard}: {problem}' for shard, problem in merged.missing_.items())}.",
            RuntimeWarning,
            stacklevel=3,
        )
    if len(merged.processors_) > 1:
        took_part = ", ".join(f"{name}: {n} spheres" for name, n in merged.processors_.most_common())
        warnings.warn(
            f"processors of several models took part, whose scores may differ in the last bit ({took_part}).",
            RuntimeWarning,
            stacklevel=3,
        )


def _incomplete(found: Survey, folder: Path) -> IncompleteError:
    of = found.reference.shard.of
    return IncompleteError(of, found.problems, commands_for(found, folder))


def commands_for(found: Survey, folder: Path) -> list[str]:
    """Commands that compute just the shards that are not whole."""
    of = found.reference.shard.of
    numbers = sorted({shard.number for shard in found.problems if shard.of == of})
    strangers = [shard for shard in found.problems if shard.of != of]
    commands = [f"rm -r {shlex.quote(str(find_shards(folder) / shard.folder))}" for shard in strangers]
    script = folder / "slurm" / "shards.sh"
    for number in numbers:
        shard = Shard(number, of)
        replaces = " --overwrite" if shard in found.foreign else ""
        if "command_line" not in found.reference.about:
            commands.append(f"SearchLight(...).fit(..., shard=({number}, {of}))")
        elif replaces or not script.exists():
            line = shlex.join(found.reference.about["command_line"])
            commands.append(f"fastsl {line} --shard {shard}{replaces}")
    jobs = [n for n in numbers if Shard(n, of) not in found.foreign]
    if script.exists() and jobs:
        commands.append(f"sbatch --array={','.join(map(str, jobs))} {shlex.quote(str(script))}")
    return commands
