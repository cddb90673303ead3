"""All components of a run on one sheet, each with its name."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.viz.figures import LIGHT, Palette
from facesem_jax.viz.overlays import component_pictures

_WIDTH, _HEIGHT = 2.2, 1.25  # Inches of one component: two pictures and the line above them.


def component_figure(
    maps: Float[np.ndarray, "P h w 4"],
    labels: Sequence[str],
    mean_albedo: Float[np.ndarray, "h w 3"],
    columns: int = 4,
    palette: Palette = LIGHT,
) -> Figure:
    """Every component's map over the mean face, albedo left and depth right, under its name.

    Each component has a scale of its own, as in `component_pictures`.

    Args:
      maps: Albedo RGB, then depth, in the units of the factorisation.
      labels: One per component.
      mean_albedo: In [-1, 1].
      columns: Components in a row.
      palette: Colours; the paper is filled, for pages of either kind.

    Raises:
      FacesemError: If there is no component, or labels or maps do not fit.
    """
    check_shape("maps", maps, (len(labels), *np.shape(mean_albedo)[:2], 4))
    if not labels:
        raise FacesemError("there is no component to draw.")
    if columns < 1:
        raise FacesemError(f"columns is {columns}; expected at least 1.")
    rows = -(-len(labels) // columns)
    figure = Figure(
        figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained", facecolor=palette.paper
    )
    cells = figure.subfigures(rows, columns, squeeze=False).ravel()
    for cell, label, map_ in zip(cells, labels, maps, strict=False):
        cell.set_facecolor(palette.paper)
        cell.suptitle(label, fontsize=8, color=palette.ink, parse_math=False)
        for axes, picture in zip(
            cell.subplots(1, 2), component_pictures(map_, mean_albedo), strict=True
        ):
            axes.imshow(picture, interpolation="nearest")
            axes.set_axis_off()
    return figure
