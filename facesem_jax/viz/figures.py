"""Plots as Matplotlib figures, in colours for a light or a dark page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


class Palette(NamedTuple):
    """Colours of a figure; its background is transparent.

    Attributes:
      ink: Text and axes.
      faint: Reference lines and ticks.
      paper: The page that the figure will lie on.
      accent: Data.
    """

    ink: str
    faint: str
    paper: str
    accent: str


LIGHT = Palette(ink="#1d1d1f", faint="#a0a0a6", paper="#ffffff", accent="#1f4e9c")
DARK = Palette(ink="#e6e6e8", faint="#6e6e74", paper="#151619", accent="#82b1ff")

TEXT_SIZE = 8.5
"""Points."""


def distance_figure(
    distances: Float[np.ndarray, "L L"],
    order: Int[np.ndarray, " L"],
    labels: Sequence[str],
    palette: Palette = LIGHT,
) -> Figure:
    """Cosine distances between directions as a matrix, in clustered order.

    Args:
      distances: In [0, 1], symmetric.
      order: The row and column order, a permutation of 0 to L - 1.
      labels: One per component, in the order of ``distances``.
      palette: Colours; near pairs are in the accent, pairs at distance 1 in the paper's colour.

    Returns:
      A figure whose size grows with L, so that every label can be read.

    Raises:
      FacesemError: On an empty or not square matrix, or an order or labels that do not fit it.
    """
    count = len(labels)
    check_shape("distances", distances, (count, count))
    if count == 0 or sorted(np.asarray(order).tolist()) != list(range(count)):
        raise FacesemError(
            f"order is no permutation of the {count} components: {np.asarray(order).tolist()}."
        )
    cell = 0.2 if count <= 40 else 0.12  # inches
    side = max(cell * count, 1.2)
    figure = Figure(figsize=(side + 2.4, side + 1.3), layout="constrained")
    axes = figure.add_subplot()
    scale = LinearSegmentedColormap.from_list("near", [palette.accent, palette.paper])
    ordered = np.asarray(distances)[np.ix_(order, order)]
    image = axes.imshow(ordered, cmap=scale, vmin=0, vmax=1, interpolation="nearest")
    names = [labels[i] for i in order]
    size = TEXT_SIZE if count <= 40 else 5.5
    # A label may hold a dollar sign, which Matplotlib would take for mathematics.
    axes.set_xticks(range(count), names, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(count), names, fontsize=size, parse_math=False)
    style_axes(axes, palette)
    axes.tick_params(length=0, colors=palette.ink)
    bar = figure.colorbar(image, ax=axes, shrink=min(1, 2.2 / side), aspect=14)
    bar.set_label("cosine distance, 1 − |cos|", color=palette.ink, fontsize=TEXT_SIZE)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=palette.ink, labelsize=TEXT_SIZE)
    return figure


def objective_figure(
    objective: Float[np.ndarray, " iterations"], palette: Palette = LIGHT
) -> Figure:
    """The objective after every accepted iteration, the iterations on a logarithmic axis.

    Args:
      objective: In the factorisation's units; the first entry is iteration 1.
      palette: Colours.
    """
    check_shape("objective", objective, (None,))
    figure = Figure(figsize=(6.2, 2.9), layout="constrained")
    axes = figure.add_subplot()
    iterations = np.arange(1, len(objective) + 1)
    axes.plot(iterations, objective, color=palette.accent, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_xlim(1, max(len(objective), 2))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("accepted iteration")
    axes.set_ylabel("objective")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    style_axes(axes, palette)
    return figure


def response_figure(
    asked: Float[np.ndarray, " t"],
    measured: Float[np.ndarray, " t"],
    unit: str,
    palette: Palette = LIGHT,
) -> Figure:
    """How far a semantic moved, against how far it was asked to; dashed where both are equal.

    Args:
      asked: In the semantic's unit.
      measured: In the same unit; NaN is left out.
      unit: Its name, for the axes; "1" for a pure number.
      palette: Colours.

    Raises:
      FacesemError: If asked and measured differ in shape.
    """
    check_shape("asked", asked, (None,))
    check_shape("measured", measured, np.shape(asked))
    figure = Figure(figsize=(2.7, 2.45), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(asked, asked, color=palette.faint, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(asked, measured, color=palette.accent, linewidth=1.6, marker="o", markersize=3.5)
    response_axes(axes, unit, palette)
    return figure


def response_axes(axes: Axes, unit: str, palette: Palette) -> None:
    """The axes of measured against asked changes, named with their unit; "1" for a pure number."""
    suffix = "" if unit == "1" else f", {unit}"
    axes.set_xlabel(f"asked{suffix}", parse_math=False)
    axes.set_ylabel(f"measured{suffix}", parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    style_axes(axes, palette)


def style_axes(axes: Axes, palette: Palette) -> None:
    """Two spines (none around an image), small text, the palette's colours."""
    axes.set_facecolor("none")
    axes.figure.set_facecolor("none")
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom") and not axes.images)
        spine.set_color(palette.faint)
    axes.tick_params(color=palette.faint, labelcolor=palette.ink)
    if not axes.images:
        axes.tick_params(labelsize=TEXT_SIZE)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(palette.ink)
        label.set_fontsize(TEXT_SIZE)
