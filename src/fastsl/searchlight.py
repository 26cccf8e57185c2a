"""``SearchLight``: the estimator on images, as ``nilearn.decoding.SearchLight``."""

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, InputTags, RegressorTags
from sklearn.utils.validation import check_is_fitted

from fastsl._runtime.cpus import resolve_n_jobs
from fastsl._runtime.launch import max_threads
from fastsl.estimators import estimator_type
from fastsl.images import Mask, Series, centres_on_grid, load_mask, map_image, mask_on_grid
from fastsl.neighbours import check_radius, plan_spheres
from fastsl.progress import Progress
from fastsl.search import matrix_dtype, plan_analysis, run_search, standardize_groups


@dataclass
class _ImageTags(InputTags):  # type: ignore[misc]
    """nilearn's vocabulary for what an estimator takes: images, not surfaces."""

    niimg_like: bool = True
    surf_img: bool = False


class SearchLight(BaseEstimator):  # type: ignore[misc]
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
        "dummy_regressor"), or any classifier, regressor or Pipeline. LinearSVC, Ridge, RidgeClassifier, RidgeCV and
        RidgeClassifierCV run compiled, others through joblib; ``engine_`` says which and why.

    n_jobs : int, default=-1
        Threads (processes, for estimators that are not compiled). -1 takes what this job may use: the least of
        affinity mask, cgroup quota and SLURM_CPUS_PER_TASK; -2 one less.

    scoring : str, callable or None, default=None
        Name of a scikit-learn scorer or ``callable(estimator, X, y)``. None: accuracy, R2 for a regressor.

    cv : int, splitter, iterable of (train, test), or None, default=None
        None is 5 folds, stratified for classifiers, without shuffling and without regard to ``groups``. The splits
        are drawn once and serve all spheres.

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

    Attributes
    ----------
    engine_ : Engine
        Which path ran, "compiled" or "general", and why.

    fold_scores_ : ndarray of float64, shape (n_folds, n_centres)
        Score of each fold. NaN where it could not be made.

    mask_img_ : Nifti1Image or None
        The mask, loaded.

    masked_scores_ : ndarray of float64, shape (n_centres,)
        Mean over folds, centres in C order of the process mask.

    n_elements_ : int
        Number of centres.

    n_voxels_ : ndarray of int32, shape (n_centres,)
        Sphere sizes.

    process_mask_ : ndarray of bool, 3-D
        Where spheres are centred.

    process_mask_affine_ : ndarray of float64, shape (4, 4)
        Voxel to mm of the process mask.

    scores_ : ndarray of float64, 3-D
        ``masked_scores_`` on the grid of the process mask, zeros outside.

    Notes
    -----
    ``scores_img_`` and ``n_voxels_img_`` are the maps as images. Where fastsl departs from nilearn on purpose is listed
    in the documentation (docs/nilearn.md).

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

    def fit(self, imgs: Any, y: Any, groups: Any = None) -> "SearchLight":
        """Score every sphere.

        Parameters
        ----------
        imgs : image, path, wildcard, or list of these
            A 4-D image, or 3-D or 4-D ones that are joined in time.
        y : array_like, shape (n_volumes,)
            Label (or value, for a regressor) of every volume.
        groups : array_like, shape (n_volumes,), optional
            For splitters that keep groups together, such as ``LeaveOneGroupOut`` for runs.

        Returns
        -------
        SearchLight
            Itself, with the attributes that end in an underscore.

        Raises
        ------
        TypeError, ValueError, FileNotFoundError
            For an argument that cannot be right, before any sphere is decoded.
        """
        threads = resolve_n_jobs(self.n_jobs, max_threads())
        check_radius(self.radius)
        _check_verbose(self.verbose)
        _check_standardize(self.standardize)
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
        )
        inside = np.ones(series.grid.shape, bool) if mask is None else mask_on_grid(mask, series.grid)
        spheres = plan_spheres(inside, series.grid.affine, self.radius, centres_on_grid(process_mask, series.grid))
        progress.say(f"{len(spheres)} spheres of {self.radius:g} mm, {series.n_volumes} volumes")
        progress.say(f"{analysis.engine}; {threads} threads", level=2)
        progress.say(f"imgs: {series.grid}; {spheres.n_voxels} voxels in the mask", level=3)
        X = series.read(inside, matrix_dtype(analysis, series.dtype))
        if self.standardize:
            standardize_groups(X, analysis.groups)
        result = run_search(X, spheres, analysis, threads, progress)

        self.mask_img_ = None if mask is None else mask.image
        self.process_mask_ = process_mask.inside
        self.process_mask_affine_ = process_mask.grid.affine
        self.n_elements_ = len(spheres)
        self.engine_ = analysis.engine
        self.fold_scores_ = result.fold_scores
        self.n_voxels_ = result.n_voxels
        self.masked_scores_ = result.scores
        self.scores_ = np.zeros(process_mask.grid.shape)
        self.scores_[process_mask.inside] = result.scores
        return self

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

    @property
    def scores_img_(self) -> nib.Nifti1Image:
        """The scores as an image on the grid of the process mask."""
        check_is_fitted(self)
        return map_image(self.masked_scores_, self.process_mask_, self.process_mask_affine_)

    @property
    def n_voxels_img_(self) -> nib.Nifti1Image:
        """Sphere sizes as an image on the grid of the process mask."""
        check_is_fitted(self)
        return map_image(self.n_voxels_, self.process_mask_, self.process_mask_affine_)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "scores_")

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


def _check_standardize(standardize: Any) -> None:
    if standardize is not None and not isinstance(standardize, bool | np.bool_):
        raise TypeError(f"standardize must be True or False, got {standardize!r}.")


def _check_verbose(verbose: Any) -> None:
    if not isinstance(verbose, int | np.integer):
        raise TypeError(f"verbose must be an integer (0 is silent), got {verbose!r}.")
