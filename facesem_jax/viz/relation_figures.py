"""Plots of relations between components: trees, and a statistic among its null values."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from facesem_jax.checks import check_shape
from facesem_jax.viz.figures import LIGHT, TEXT_SIZE, Palette, style_axes


def null_figure(
    null: Float[np.ndarray, " n"], own: float | None, palette: Palette = LIGHT
) -> Figure:
    """A histogram of a statistic's null values, and a line where its own value lies.

    Args:
      null: Null values; those that are not finite are left out.
      own: The own value, or ``None``.
      palette: Colours.
    """
    check_shape("null", null, (None,))
    figure = Figure(figsize=(4.2, 2.2), layout="constrained")
    axes = figure.add_subplot()
    axes.hist(np.asarray(null)[np.isfinite(null)], bins=20, color=palette.faint)
    if own is not None:
        axes.axvline(own, color=palette.accent, linewidth=2)
    axes.set_xlabel("r")
    axes.set_ylabel("count")
    style_axes(axes, palette)
    return figure


def tree_figure(
    distances: Float[np.ndarray, "P P"],
    labels: Sequence[str],
    title: str,
    palette: Palette = LIGHT,
) -> Figure:
    """The average-linkage tree of components, names at its leaves.

    Args:
      distances: Symmetric distances with a zero diagonal, 2 components or more.
      labels: One per component.
      title: What the distances are, under the axis.
      palette: Colours.

    Raises:
      FacesemError: If labels and distances do not fit.
    """
    count = len(labels)
    check_shape("distances", distances, (count, count))
    tree = hierarchy.average(squareform(np.asarray(distances, float), checks=False))
    figure = Figure(figsize=(5, 0.19 * count + 0.8), layout="constrained")
    axes = figure.add_subplot()
    drawn = hierarchy.dendrogram(
        tree,
        orientation="right",
        ax=axes,
        no_labels=True,
        color_threshold=0,
        above_threshold_color=palette.accent,
    )
    # Leaves stand at 5, 15, 25 ...; a label may hold a dollar sign.
    names = [labels[i] for i in drawn["leaves"]]
    places = 10 * np.arange(count) + 5
    axes.set_yticks(places, names, fontsize=TEXT_SIZE - 1, parse_math=False)
    axes.set_xlabel(title, parse_math=False)
    axes.tick_params(axis="y", length=0)
    style_axes(axes, palette)
    axes.tick_params(axis="y", labelsize=TEXT_SIZE - 1)
    axes.spines["left"].set_visible(False)
    return figure
