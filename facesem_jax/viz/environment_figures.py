"""Plots of global semantics: what a regression costs, how edits answer, what leaks."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from facesem_jax.checks import check_shape
from facesem_jax.viz.figures import LIGHT, TEXT_SIZE, Palette, response_axes, style_axes

_FIGURE = (2.9, 2.35)  # Inches.


def sample_curve_figure(
    counts: Sequence[int],
    score: Float[np.ndarray, " c"],
    spread: Float[np.ndarray, " c"],
    exact_counts: Sequence[int],
    exact_score: Float[np.ndarray, " e"],
    palette: Palette = LIGHT,
) -> Figure:
    """Score of a direction against the samples it took: a regression's and exact gradients'.

    Args:
      counts: Samples of the regressions.
      score: Held-out share of the variance along the direction.
      spread: Its standard deviation over repeats.
      exact_counts: Samples whose gradients were averaged.
      exact_score: The score of their mean; drawn dashed.
      palette: Colours.

    Raises:
      FacesemError: On lengths that do not fit.
    """
    for name, value in (("score", score), ("spread", spread)):
        check_shape(name, value, (len(counts),))
    check_shape("exact_score", exact_score, (len(exact_counts),))
    figure = Figure(figsize=_FIGURE, layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(counts, score - spread, score + spread, color=palette.accent, alpha=0.2, lw=0)
    axes.plot(counts, score, color=palette.accent, linewidth=1.6, marker="o", markersize=3)
    axes.plot(exact_counts, exact_score, color=palette.ink, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.set_ylim(min(0.0, float(np.min(score))), 1.02)
    axes.set_xlabel("samples")
    axes.set_ylabel("variance along it")
    style_axes(axes, palette)
    return figure


def response_band_figure(
    amounts: Float[np.ndarray, " t"],
    mean: Float[np.ndarray, " t"],
    spread: Float[np.ndarray, " t"],
    gain: float,
    unit: str,
    palette: Palette = LIGHT,
) -> Figure:
    """Response to a long edit: the mean over faces, a band of one standard deviation, its line.

    Args:
      amounts: What was asked, in the semantic's unit.
      mean: Mean change.
      spread: Standard deviation of the change over faces.
      gain: Slope of the dashed line, the linear prediction.
      unit: Its name, for the axes; "1" for a pure number.
      palette: Colours.

    Raises:
      FacesemError: On lengths that do not fit.
    """
    check_shape("mean", mean, (len(amounts),))
    check_shape("spread", spread, (len(amounts),))
    figure = Figure(figsize=_FIGURE, layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(amounts, mean - spread, mean + spread, color=palette.accent, alpha=0.2, lw=0)
    line = gain * np.asarray(amounts)
    axes.plot(amounts, line, color=palette.faint, linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(amounts, mean, color=palette.accent, linewidth=1.6)
    response_axes(axes, unit, palette)
    return figure


def leakage_figure(
    matrix: Float[np.ndarray, "k k"], names: Sequence[str], palette: Palette = LIGHT
) -> Figure:
    """A leakage matrix with its numbers: the edited semantic in the row, the moved in the column.

    Args:
      matrix: Changes in spreads, 1 on the diagonal for a perfect edit.
      names: The semantics.
      palette: Colours; full accent at 1 or beyond, either sign.

    Raises:
      FacesemError: If names and matrix do not fit.
    """
    count = len(names)
    check_shape("matrix", matrix, (count, count))
    shades = LinearSegmentedColormap.from_list("leak", [palette.paper, palette.accent])
    size = 0.56 * count + 0.9
    figure = Figure(figsize=(size, 0.8 * size), layout="constrained")
    axes = figure.add_subplot()
    strength = np.minimum(np.abs(matrix), 1)
    axes.imshow(strength, cmap=shades, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(np.asarray(matrix)):
        colour = palette.paper if strength[i, j] > 0.5 else palette.ink
        shown = f"{value:.2f}".replace("-", "−")
        axes.text(j, i, shown, ha="center", va="center", color=colour, fontsize=TEXT_SIZE - 1)
    shown = [name.replace("_", " ") for name in names]
    axes.set_xticks(range(count), shown, rotation=40, ha="right", fontsize=TEXT_SIZE)
    axes.set_yticks(range(count), shown, fontsize=TEXT_SIZE)
    axes.set_ylabel("edited")
    axes.tick_params(length=0)
    style_axes(axes, palette)
    return figure
