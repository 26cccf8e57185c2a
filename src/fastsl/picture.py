"""Pictures of maps: axial slices side by side. Needs matplotlib, from the extra ``plot``."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: In points.
_TITLE_SIZE = 11


def require_matplotlib() -> Any:
    """Import matplotlib without a display, or say how to get it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "pictures need matplotlib: install fastsl with its extra 'plot' (pip install 'fastsl-searchlight[plot]')."
        ) from error
    return Figure


def draw_map(
    values: NDArray[np.float64],
    inside: NDArray[np.bool_],
    path: str | Path,
    *,
    affine: NDArray[np.float64],
    title: str = "",
    label: str = "score",
    n_slices: int = 12,
    limits: tuple[float, float] | None = None,
    chance: float | None = None,
) -> Path:
    """Draw axial slices of a map, with their height in mm.

    Parameters
    ----------
    values, inside : ndarray, 3-D
        The map, and where it holds; the rest is left blank.
    path : str or Path
        PNG file to write.
    affine : ndarray, shape (4, 4)
        Voxel to mm; slices are shown with left on the left where the axes are those of the head.
    title, label : str
        Of the picture, and of its colours.
    n_slices : int
        At most so many slices, evenly spaced over those with any value.
    limits : (low, high), optional
        Of the colours; 1st percentile to maximum by default.
    chance : float, optional
        Marked on the colour bar, where it is between the limits.
    """
    figure_class = require_matplotlib()
    filled = np.flatnonzero(inside.any(axis=(0, 1)))
    chosen = filled[np.unique(np.linspace(0, len(filled) - 1, n_slices).round().astype(int))]
    shown = np.where(inside, values, np.nan)
    low, high = limits or (float(np.nanpercentile(shown, 1)), float(np.nanmax(shown)))
    columns = min(6, len(chosen))
    rows = -(-len(chosen) // columns)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    width = 1.9 * columns + 0.8
    # matplotlib cuts what is wider than the picture: a letter takes 0.6 of its height or less, a point 1/72 inch
    lines = textwrap.wrap(title, int(width * 72 / (0.6 * _TITLE_SIZE)))
    height = 2.2 * rows + 0.4 + len(lines) * 1.3 * _TITLE_SIZE / 72
    figure = figure_class(figsize=(width, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    drawn = None
    for axis, k in zip(axes, chosen, strict=False):
        picture = shown[:, :, k].T if affine[0, 0] >= 0 else shown[::-1, :, k].T
        drawn = axis.imshow(picture, origin="lower", cmap="inferno", vmin=low, vmax=high, aspect=sizes[1] / sizes[0])
        axis.set_title(f"z = {affine[2, 2] * k + affine[2, 3]:.0f} mm", fontsize=8)
    for axis in axes:
        axis.axis("off")
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(axes), shrink=0.7, label=label)
        if chance is not None and low < chance < high:
            bar.ax.axhline(chance, color="white", linewidth=3)  # seen on dark colours, and the black within it on light
            bar.ax.axhline(chance, color="black", linewidth=1)
            bar.set_label(f"{label}\n(line: chance, {chance:.3g})")
    figure.suptitle("\n".join(lines), fontsize=_TITLE_SIZE)
    figure.savefig(path, dpi=110)
    return Path(path)
