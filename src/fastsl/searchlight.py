"""``SearchLight``: the estimator on images, as ``nilearn.decoding.SearchLight``."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import ClassifierTags, InputTags, RegressorTags
from sklearn.utils.validation import check_is_fitted

from fastsl._runtime.cpus import resolve_n_jobs
from fastsl._runtime.launch import kernel_threads, max_threads
from fastsl.analysis import Analysis, matrix_dtype, plan_analysis
from fastsl.checkpoints.fingerprint import ingredients, warn_of_chance
from fastsl.checkpoints.manifest import Manifest
from fastsl.checkpoints.recorder import Checkpoint, FileRecorder
from fastsl.checkpoints.shards import WHOLE, Shard
from fastsl.decoders import segment_of, shares_sums
from fastsl.estimators import estimator_type
from fastsl.images import Mask, Series, load_mask, part_of_mask
from fastsl.kept import Keep
from fastsl.matrix import standardize_groups
from fastsl.neighbours import check_radius
from fastsl.new_images import Fitted, NewImages
from fastsl.placement import Placement, place_spheres
from fastsl.progress import Progress
from fastsl.search import collect_blocks, decode_blocks, run_search
from fastsl.significance import Significance


@dataclass
class _ImageTags(InputTags):  # type: ignore[misc]
    """nilearn's vocabulary for what an estimator takes: images, not surfaces."""

    niimg_like: bool = True
    surf_img: bool = False


class SearchLight(NewImages, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Cross-validate a decoder on the sphere around every voxel.

    The score of voxel ``c`` is the mean over folds of the score of a decoder that saw only the voxels ``v`` with
    ``||x_v - x_c|| <= radius`` (positions in mm, boundary included). A drop-in for
    :class:`nilearn.decoding.SearchLight`: same arguments, same numbers, compiled.

    Parameters
    ----------
    mask_img : image, path or None, default=None
        Voxels whose signal may enter a sphere. Resampled (nearest voxel, with a warning) where its grid is not that
        of the images. None: every voxel of the volume; then ``process_mask_img`` is needed.

    process_mask_img : image, path or None, default=None
        Voxels that are centres of spheres; ``mask_img`` by default. It never clips a sphere, so any split of it into
        parts gives, part by part, the same scores to the last bit.

    radius : float, default=2.0
        Of the spheres, in mm. 0 takes the centre voxel alone.

    estimator : str or scikit-learn estimator, default="svc"
        One of nilearn's names ("svc", "svc_l2", "svc_l1", "logistic", "logistic_l1", "logistic_l2",
        "ridge_classifier", "dummy_classifier", "svr", "ridge", "ridge_regressor", "lasso", "lasso_regressor",
        "dummy_regressor"), one of ours ("RidgeClassifier", "Ridge", "lda", "gnb", "correlation"), or any classifier,
        regressor or Pipeline. Linear models, support vector machines, discriminant analysis, naive Bayes and centroids
        run compiled (docs/decoders.md has the list), others through joblib; ``engine_`` says which and why.

    n_jobs : int, default=-1
        Threads (processes, for estimators that are not compiled). -1 takes what this job may use: the least of
        affinity mask, cgroup quota and SLURM_CPUS_PER_TASK; -2 one less.

    scoring : str, callable, list, dict or None, default=None
        Name of a scikit-learn scorer or ``callable(estimator, X, y)``. None: accuracy, R2 for a regressor. Several at
        once as in ``cross_validate``: a list of names, or a dict of names or callables; scores are then dicts by name.

    cv : int, splitter, iterable of (train, test), or None, default=None
        None is 5 folds, stratified for classifiers, without shuffling and without regard to ``groups``. The splits
        are drawn once and serve all spheres. To train on one part of the images and test on another, give one pair
        ``[(train, test)]`` of sample numbers.

    verbose : int, default=0
        0 is silent, 1 shows progress, 2 also how it is computed, 3 details.

    random_state : int, RandomState or None, default=0
        Seed of the estimators that a name stands for.

    estimator_args : dict or None, default=None
        Parameters of the estimator that a name stands for.

    min_voxels : int, default=1
        Spheres with fewer voxels are not decoded: their score is NaN, and a warning counts them.

    standardize : bool, default=False
        Z-score every voxel within each group (all volumes without ``groups``), before any decoding. Raw intensities are
        decoded as they are otherwise.

    keep_predictions : bool or path, default=False
        Keep the held-out predictions and decision values of every sphere, in memory; a folder keeps them there, as
        ``predictions.npy`` and ``decisions.npy``, written block by block (and ``confusion.npy``). A shard's are kept in
        memory: :func:`fastsl.merge` has a folder for those of all.

    keep_confusion : bool, default=False
        Keep the confusion matrix of every sphere (classifiers).

    n_permutations : int, default=0
        Decode so many permutations of y as well, the same ones in every sphere and on the same folds. ``random_state``
        is their seed. RidgeClassifier and Ridge are fast at this, at some microseconds a permutation and sphere.
        LinearSVC, the default, shares the inverse of a sphere's kernel matrix and then solves each: 0.1 ms, 7 hours of
        a core for 1,000 on a 2 mm brain. Others decode one permutation after the other (docs/permutation.md).

    permutation_scheme : str or array_like of int, default="within_groups"
        What may be exchanged: "within_groups", "whole_groups", "free", "sign_flip", or permutations of your own, one a
        row: see :func:`fastsl.permuted_targets`.

    tfce : bool or dict, default=False
        Threshold-free cluster enhancement of the z scores, with family-wise p values. A dict replaces some of
        ``{"dh": 0.1, "E": 0.5, "H": 2.0, "with_dh": True}``: see :func:`fastsl.tfce`.

    cluster_threshold : float or None, default=None
        Clusters of z scores above this, 3.1 for instance, with family-wise p values of their extent and mass.

    connectivity : {6, 18, 26}, default=26
        Neighbours of a voxel, for TFCE and clusters.

    keep_null : folder or None, default=None
        Where the permuted maps stay, as ``null.npy`` (n_scores, n_permutations, n_centres), for a test of a group.

    checkpoint : path or None, default=None
        Folder that takes what is decoded, every half minute. A fit that was interrupted, by whatever, goes on from
        there when it is called again, and ends with the same numbers to the last bit; so do shards, see :meth:`fit`.
        Another analysis in the folder is an error that says what differs. The folder is yours to remove.

    Attributes
    ----------
    classes_ : ndarray or None
        Sorted classes of y; None for a regressor.

    cluster_labels_ : ndarray of int32, shape (n_centres,), or None
        With ``cluster_threshold``: number of each centre's cluster, by falling extent from 1 on; 0 outside.

    clusters_ : Clusters or None
        With ``cluster_threshold``: extent, mass, peak and p values of each cluster.

    confusion_ : ndarray of int32, shape (n_centres, n_classes, n_classes), or None
        With ``keep_confusion``: counts of (true, predicted) classes over all test samples.

    decisions_ : ndarray of float32, shape (n_samples, n_centres) or (n_samples, n_centres, n_classes), or None
        With ``keep_predictions``, of a classifier: held-out decision values, for two classes those of the second;
        probabilities, where the decoder has no decision function. NaN where there are none.

    engine_ : Engine
        Which path ran, "compiled" or "general", and why.

    fold_scores_ : ndarray of float64, shape (n_folds, n_centres), or dict of these
        Score of each fold. NaN where it could not be made.

    mask_img_ : Nifti1Image or None
        The mask, loaded.

    masked_scores_ : ndarray of float64, shape (n_centres,), or dict of these
        Mean over folds, centres in C order of the process mask.

    n_elements_ : int
        Number of centres.

    n_permutations_ : int
        Permutations that were decoded: fewer than asked for where there are no more.

    n_voxels_ : ndarray of int32, shape (n_centres,)
        Sphere sizes.

    null_maps_ : ndarray of float32, shape (n_permutations, n_centres), or None
        With ``keep_null``: scores under permuted labels, in a file.

    null_max_ : ndarray of float32, shape (n_permutations,), or None
        Largest score of each permuted map; infinite where one is not defined, which a warning says. None of a shard.

    p_values_ : ndarray of float64, shape (n_centres,), or None
        With ``n_permutations``: (r + 1) / (n + 1), uncorrected, r permutations reaching the observed score.

    p_values_fwe_ : ndarray of float64, shape (n_centres,), or None
        The same for the largest score of each permuted map: the family-wise error over all centres is controlled.

    p_values_tfce_ : ndarray of float64, shape (n_centres,), or None
        With ``tfce``: family-wise p values of it.

    prediction_folds_ : ndarray of int64, shape (n_rows,), or None
        With ``keep_predictions``: the fold that each row of ``predictions_`` and ``decisions_`` comes from.

    prediction_samples_ : ndarray of int64, shape (n_rows,), or None
        With ``keep_predictions``: the sample of each row. Row ``i`` is sample ``i`` where each is tested once, as most
        splitters do.

    predictions_ : ndarray of int16 or float32, shape (n_samples, n_centres), or None
        With ``keep_predictions``: held-out predictions. Of a classifier positions in ``classes_``, so that
        ``classes_[predictions_]`` are labels, and -1 where there is none; of a regressor values.

    process_mask_ : ndarray of bool, 3-D
        Where spheres are centred.

    process_mask_affine_ : ndarray of float64, shape (4, 4)
        Voxel to mm of the process mask.

    scores_ : ndarray of float64, 3-D, or dict of these
        ``masked_scores_`` on the grid of the process mask, zeros outside.

    tfce_ : ndarray of float64, shape (n_centres,), or None
        With ``tfce``: enhanced z scores.

    z_scores_ : ndarray of float64, shape (n_centres,), or None
        With ``n_permutations``: scores less the mean of the centre's null, over its standard deviation.

    Notes
    -----
    ``scores_img_``, ``n_voxels_img_``, ``p_values_img_``, ``p_values_fwe_img_``, ``z_scores_img_``, ``tfce_img_`` and
    ``p_values_tfce_img_`` are the maps as images. With several scores all of these are dicts by name. Where fastsl
    departs from nilearn on purpose is listed in the documentation (docs/nilearn.md).

    References
    ----------
    Kriegeskorte, Goebel and Bandettini (2006), Information-based functional brain mapping, PNAS 103:3863.

    Examples
    --------
    >>> from fastsl import SearchLight, make_phantom
    >>> phantom = make_phantom(voxel_size=8, n_runs=4, seed=0)
    >>> searchlight = SearchLight(phantom.mask_img, radius=16, n_jobs=1)
    >>> searchlight.fit(phantom.img, phantom.labels["condition"]).scores_.shape == phantom.mask_img.shape
    True
    """

    #: Whether a fit is also for new images. A command line's is not: the matrix is given back before the results of all
    #: spheres are put together, and the volume of scores is made for whoever asks for it.
    _keeps_images = True

    def __init__(
        self,
        mask_img: Any = None,
        process_mask_img: Any = None,
        radius: float = 2.0,
        estimator: Any = "svc",
        n_jobs: int = -1,
        scoring: Any = None,
        cv: Any = None,
        verbose: int = 0,
        random_state: Any = 0,
        estimator_args: Any = None,
        *,
        min_voxels: int = 1,
        standardize: bool = False,
        keep_predictions: bool | str | os.PathLike[str] = False,
        keep_confusion: bool = False,
        n_permutations: int = 0,
        permutation_scheme: Any = "within_groups",
        tfce: bool | dict[str, Any] = False,
        cluster_threshold: float | None = None,
        connectivity: int = 26,
        keep_null: str | os.PathLike[str] | None = None,
        checkpoint: Any = None,
    ) -> None:
        self.mask_img = mask_img
        self.process_mask_img = process_mask_img
        self.radius = radius
        self.estimator = estimator
        self.n_jobs = n_jobs
        self.scoring = scoring
        self.cv = cv
        self.verbose = verbose
        self.random_state = random_state
        self.estimator_args = estimator_args
        self.min_voxels = min_voxels
        self.standardize = standardize
        self.keep_predictions = keep_predictions
        self.keep_confusion = keep_confusion
        self.n_permutations = n_permutations
        self.permutation_scheme = permutation_scheme
        self.tfce = tfce
        self.cluster_threshold = cluster_threshold
        self.connectivity = connectivity
        self.keep_null = keep_null
        self.checkpoint = checkpoint

    def fit(self, imgs: Any, y: Any, groups: Any = None, *, shard: Any = None) -> "SearchLight":
        """Score every sphere.

        Parameters
        ----------
        imgs : image, path, wildcard, or list of these
            A 4-D image, or 3-D or 4-D ones that are joined in time.
        y : array_like, shape (n_volumes,)
            Label (or value, for a regressor) of every volume.
        groups : array_like, shape (n_volumes,), optional
            For splitters that keep groups together, such as ``LeaveOneGroupOut`` for runs.
        shard : (i, n) or "i/n", optional
            Score the i-th of n parts of the centres only, counted from 1, of about the same work each. All attributes
            are then of these centres; ``process_mask_`` says which they are. With ``checkpoint``, :func:`fastsl.merge`
            joins the parts.

        Returns
        -------
        SearchLight
            Itself, with the attributes that end in an underscore.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError
            For an argument that cannot be right, before any sphere is decoded; and for a checkpoint of another
            analysis.
        BlockingIOError
            When another process computes the same shard.
        OSError
            When the checkpoint cannot be written.
        """
        threads = resolve_n_jobs(self.n_jobs, max_threads())
        self._check_numbers()
        part = WHOLE if shard is None else Shard.parse(shard)
        checkpoint = _open_checkpoint(self.checkpoint)
        significance = self._significance(shard is not None)
        significance.warn_of_few()
        keep = significance.keep(self._what_to_keep(shard is not None), is_part=shard is not None)
        progress = Progress(self.verbose, f"{type(self).__name__}.fit")
        mask, process_mask = self._load_masks()
        series = imgs if isinstance(imgs, Series) else Series(imgs)
        analysis = plan_analysis(
            y,
            series.n_volumes,
            self.estimator,
            groups=groups,
            scoring=self.scoring,
            cv=self.cv,
            estimator_args=self.estimator_args,
            random_state=self.random_state,
            min_voxels=self.min_voxels,
            keep=keep,
            permutations=significance.permutations,
        )
        with kernel_threads(threads):
            segment = segment_of(analysis.estimator)
            placed = place_spheres(mask, process_mask, series.grid, self.radius, part, segment)
            _tell(progress, placed, self.radius, part, series, analysis, threads)
            X = series.read(placed.needed, matrix_dtype(analysis, series.dtype))
            words = {}
            if checkpoint is not None:
                warn_of_chance(analysis)
                words = ingredients(X, analysis, keep, **self._about(placed, process_mask, series, significance))
            if self.standardize:
                standardize_groups(X, analysis.groups)
        manifest = Manifest(
            words, part, placed.first, placed.stop, len(placed.spheres), keep.settings, significance.settings
        )
        spheres = placed.spheres.between(placed.first, placed.stop)
        if analysis.permuted is None and not shares_sums(analysis.estimator):
            spheres = spheres.alone()
        with _recording(checkpoint, manifest, analysis, process_mask) as recorder:
            part_from = None if shard is None else placed.first
            if self._keeps_images or recorder is None or keep or analysis.permuted is not None:
                result = run_search(X, spheres, analysis, threads, progress, keep, recorder, part_from)
            else:
                decode_blocks(X, spheres, analysis, threads, progress, keep, recorder, part_from, None)
                del X
                result = collect_blocks(recorder, analysis, len(spheres), is_part=shard is not None)

        if self._keeps_images:
            self._fitted = Fitted(X, spheres, placed.needed, series.grid, analysis)
        self.mask_img_ = None if mask is None else mask.image
        centred = part_of_mask(process_mask.inside, placed.first, placed.stop)
        self._fill(analysis.layout, result, centred, process_mask.grid.affine)
        self._fill_significance(significance, result, is_part=shard is not None, n_jobs=threads)
        if self._keeps_images:
            _ = self.scores_  # now it is in vars(self), where nilearn looks for what fit has made
        return self

    def _about(
        self, placed: Placement, process_mask: Mask, series: Series, significance: Significance
    ) -> dict[str, Any]:
        """What else than data, labels and decoder a checkpoint knows an analysis by."""
        return {
            "mask": placed.inside,
            "centres": placed.spheres.centres[:],
            "process_mask": process_mask.inside,
            "affine": series.grid.affine,
            "radius": self.radius,
            "standardize": bool(self.standardize),
            **significance.ingredients(self.random_state),
        }

    def _check_numbers(self) -> None:
        check_radius(self.radius)
        if not isinstance(self.verbose, int | np.integer):
            raise TypeError(f"verbose must be an integer (0 is silent), got {self.verbose!r}.")
        _check_flag(self.standardize, "standardize")

    def _what_to_keep(self, is_part: bool) -> Keep:
        _check_flag(self.keep_confusion, "keep_confusion")
        given = self.keep_predictions
        if isinstance(given, str | os.PathLike):
            # The files in a folder are those of all centres: a merge writes them.
            return Keep(True, bool(self.keep_confusion), None if is_part else Path(given))
        _check_flag(given, "keep_predictions", " or a folder")
        return Keep(bool(given), bool(self.keep_confusion))

    def _significance(self, is_part: bool) -> Significance:
        # A file of null maps in a folder is that of all centres: a merge writes it.
        folder = None if self.keep_null is None or is_part else Path(self.keep_null)
        return Significance(
            self.n_permutations, self.permutation_scheme, self.tfce, self.cluster_threshold, self.connectivity, folder
        )

    def _load_masks(self) -> tuple[Mask | None, Mask]:
        if self.mask_img is None and self.process_mask_img is None:
            raise TypeError(
                "input should be a NiftiLike object: give mask_img (voxels that may enter a sphere), or "
                "process_mask_img (centres) to use every voxel; both are None."
            )
        mask = None if self.mask_img is None else load_mask(self.mask_img, "mask_img")
        if self.process_mask_img is None:
            assert mask is not None
            return mask, mask
        return mask, load_mask(self.process_mask_img, "process_mask_img")

    def _check_filled(self) -> None:
        check_is_fitted(self)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "masked_scores_")

    @property
    def _estimator_type(self) -> str:
        return estimator_type(self.estimator)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags = _ImageTags()
        kind = self._estimator_type
        if kind == "classifier":
            tags.estimator_type, tags.classifier_tags = kind, ClassifierTags()
        elif kind == "regressor":
            tags.estimator_type, tags.regressor_tags = kind, RegressorTags()
        return tags


def _tell(
    progress: Progress, placed: Placement, radius: float, part: Shard, series: Series, analysis: Analysis, threads: int
) -> None:
    """Say what will be read and decoded."""
    n = len(placed.spheres)
    of = "" if part == WHOLE else f", of which shard {part} has {placed.stop - placed.first}"
    progress.say(f"{n} spheres of {radius:g} mm, {series.n_volumes} volumes{of}")
    progress.say(f"{analysis.engine}; {threads} threads", level=2)
    progress.say(f"imgs: {series.grid}; {np.count_nonzero(placed.inside)} voxels in the mask", level=3)
    if not placed.reads_all:
        progress.say(f"{placed.spheres.n_voxels} of these are near a centre and are read", level=3)


def _check_flag(flag: Any, name: str, or_what: str = "") -> None:
    if flag is not None and not isinstance(flag, bool | np.bool_):
        raise TypeError(f"{name} must be True or False{or_what}, got {flag!r}.")


def _open_checkpoint(given: Any) -> Checkpoint | None:
    """Ready a folder for blocks, and find out before the work whether it can be written."""
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike | Checkpoint):
        raise TypeError(f"checkpoint must be a folder or None, got {given!r}.")
    checkpoint = given if isinstance(given, Checkpoint) else Checkpoint(Path(given).expanduser())
    checkpoint.check()
    return checkpoint


def _recording(
    checkpoint: Checkpoint | None, manifest: Manifest, analysis: Analysis, process_mask: Mask
) -> AbstractContextManager[FileRecorder | None]:
    """What a search is recorded by: the folder of its shard, or nothing."""
    if checkpoint is None:
        return nullcontext()
    return checkpoint.recording(manifest, analysis.layout, process_mask.inside, process_mask.grid.affine)
