"""What of a search is significant: settings of a permutation test, and its results on the centres."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsl.analysis import Permutations
from fastsl.collected import SearchResult
from fastsl.kept import Keep
from fastsl.permutation.clusters import check_threshold, enhancement, voxel_adjacency
from fastsl.permutation.familywise import ClusterInference, cluster_inference

#: Permutations with which a p value can be 0.05.
FEWEST = 19
_TFCE: dict[str, Any] = {"dh": 0.1, "E": 0.5, "H": 2.0, "with_dh": True}


@dataclass(frozen=True)
class Significance:
    """Settings of a permutation test; see :class:`fastsl.SearchLight`."""

    n_permutations: int = 0
    scheme: Any = "within_groups"
    tfce: bool | Mapping[str, Any] = False
    cluster_threshold: float | None = None
    connectivity: int = 26
    folder: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be, before any work."""
        n = self.n_permutations
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"n_permutations must be a whole number, 0 for no test, got {n!r}.")
        if n == 0:
            wanted = [name for name, value in self._of_a_test().items() if value]
            if wanted:
                raise ValueError(f"{wanted[0]} needs permuted maps: set n_permutations, to 1000 for instance.")
        if not isinstance(self.tfce, bool | np.bool_ | Mapping):
            raise TypeError(f"tfce must be True, False or a dict of {', '.join(_TFCE)}, got {self.tfce!r}.")
        if self.wants_tfce:
            enhancement(**self.enhancement)
        if self.cluster_threshold is not None:
            check_threshold(self.cluster_threshold)
        if self.connectivity not in (6, 18, 26):
            raise ValueError(
                f"connectivity must be 6, 18 or 26, the neighbours of a voxel by faces, edges or corners, got "
                f"{self.connectivity!r}."
            )

    def warn_of_few(self) -> None:
        """Warn, at the line that called ``fit``, of permutations that are too few for any p of 0.05."""
        n = self.n_permutations
        if 0 < n < FEWEST:
            warnings.warn(
                f"n_permutations={n}: no p value can be smaller than 1/{n + 1} = {1 / (n + 1):.3g}. p <= 0.05 needs "
                f"{FEWEST} permutations at least; take 1,000 or more.",
                UserWarning,
                stacklevel=3,
            )

    def _of_a_test(self) -> dict[str, bool]:
        return {
            "tfce": self.wants_tfce,
            "cluster_threshold": self.cluster_threshold is not None,
            "keep_null": self.folder is not None,
        }

    @property
    def wants_tfce(self) -> bool:
        """Whether there is to be TFCE; an empty dict asks for it with the usual parameters."""
        return isinstance(self.tfce, Mapping) or bool(self.tfce)

    @property
    def enhancement(self) -> dict[str, Any]:
        """Parameters of threshold-free cluster enhancement."""
        given = dict(self.tfce) if isinstance(self.tfce, Mapping) else {}
        unknown = set(given) - set(_TFCE)
        if unknown:
            raise ValueError(f"tfce has no parameter {sorted(unknown)[0]!r}; it has {', '.join(_TFCE)}.")
        return {**_TFCE, **given}

    @property
    def permutations(self) -> Permutations | None:
        """What the analysis has to know."""
        return Permutations(int(self.n_permutations), self.scheme) if self.n_permutations else None

    @property
    def settings(self) -> dict[str, Any]:
        """What a merge has to know, in words of JSON."""
        return {
            "tfce": self.enhancement if self.wants_tfce else False,
            "cluster_threshold": None if self.cluster_threshold is None else float(self.cluster_threshold),
            "connectivity": int(self.connectivity),
        }

    def ingredients(self, random_state: Any) -> dict[str, Any]:
        """What tells a test from another, by name: parts of two tests are not put together."""
        if not self.n_permutations:
            return {"n_permutations": 0}
        return {
            "n_permutations": int(self.n_permutations),
            "permutation_scheme": self.scheme if isinstance(self.scheme, str) else np.asarray(self.scheme),
            "permutation_seed": random_state if isinstance(random_state, int | np.integer) else None,
            **self.settings,
        }

    @property
    def needs_maps(self) -> bool:
        """Whether all permuted maps are needed at once."""
        return self.wants_tfce or self.cluster_threshold is not None

    def keep(self, keep: Keep, *, is_part: bool = False) -> Keep:
        """Have the maps kept that the test needs. Of a part of the centres there are neither TFCE nor clusters."""
        return replace(keep, null_maps=self.needs_maps and not is_part, null_folder=self.folder)

    def infer(self, result: SearchResult, inside: NDArray[np.bool_], n_jobs: int) -> list[ClusterInference]:
        """TFCE and clusters of every score, on the volume whose voxels ``inside`` are the centres."""
        if result.null is None or result.null.maps is None or not self.needs_maps:
            return []
        parameters = self.enhancement if self.wants_tfce else {"dh": None}
        adjacency = voxel_adjacency(inside, self.connectivity)
        return [
            cluster_inference(
                scores,
                result.null.maps[i],
                adjacency,
                mean=result.null.mean[i],
                sd=result.null.sd[i],
                cluster_threshold=self.cluster_threshold,
                n_jobs=n_jobs,
                **parameters,
            )
            for i, scores in enumerate(result.scores)
        ]


class PermutationMaps:
    """Attributes of a search that has been tested by permutations; None where they were not asked for."""

    _names: tuple[str, ...] | None
    process_mask_: NDArray[np.bool_]
    n_permutations_: int
    null_max_: Any
    null_maps_: Any
    p_values_: Any
    p_values_fwe_: Any
    z_scores_: Any
    tfce_: Any
    p_values_tfce_: Any
    clusters_: Any
    cluster_labels_: Any

    def _by_name(self, values: Any) -> Any:
        """One entry a score: the only one, or a dict."""
        return values[0] if self._names is None else dict(zip(self._names, values, strict=True))

    def _fill_significance(
        self, settings: Significance, result: SearchResult, *, is_part: bool = False, n_jobs: int = -1
    ) -> None:
        """Take the test of a result. A part of the centres knows nothing of the largest score of a whole map."""
        null, scores = result.null, result.scores
        found = [] if is_part else settings.infer(result, self.process_mask_, n_jobs)

        def of_each(values: Any, *, known: bool = True) -> Any:
            return self._by_name(values) if null is not None and known else None

        def of_clusters(name: str) -> Any:
            values = [getattr(one, name) for one in found]
            return of_each(values, known=bool(values) and values[0] is not None)

        self.n_permutations_ = 0 if null is None else null.n_permutations
        self.null_max_ = of_each(null and null.largest, known=not is_part)
        self.null_maps_ = of_each(null and null.maps, known=settings.folder is not None)
        self.p_values_ = of_each(null and null.p)
        self.p_values_fwe_ = of_each(null and null.p_fwe(scores), known=not is_part)
        self.z_scores_ = of_each(null and null.z(scores))
        self.tfce_, self.p_values_tfce_ = of_clusters("tfce"), of_clusters("p_tfce")
        self.clusters_, self.cluster_labels_ = of_clusters("clusters"), of_clusters("labels")

    def _map_of(self, values: Any, outside: float) -> Any:
        self._check_filled()  # type: ignore[attr-defined]
        if values is None:
            raise AttributeError(
                "there is no such map: it needs n_permutations, TFCE tfce=True, and all centres, not a shard of them."
            )
        to_img = self.to_img  # type: ignore[attr-defined]
        if isinstance(values, dict):
            return {name: to_img(one, outside=outside) for name, one in values.items()}
        return to_img(values, outside=outside)

    @property
    def p_values_img_(self) -> Any:
        """Uncorrected p values as an image, 1 outside the process mask; a dict by name of several scores."""
        return self._map_of(self.p_values_, 1.0)

    @property
    def p_values_fwe_img_(self) -> Any:
        """Family-wise p values as an image, 1 outside the process mask."""
        return self._map_of(self.p_values_fwe_, 1.0)

    @property
    def z_scores_img_(self) -> Any:
        """Scores in deviations of each centre's null as an image."""
        return self._map_of(self.z_scores_, 0.0)

    @property
    def tfce_img_(self) -> Any:
        """Threshold-free cluster enhancement as an image."""
        return self._map_of(self.tfce_, 0.0)

    @property
    def p_values_tfce_img_(self) -> Any:
        """Family-wise p values of TFCE as an image, 1 outside the process mask."""
        return self._map_of(self.p_values_tfce_, 1.0)
