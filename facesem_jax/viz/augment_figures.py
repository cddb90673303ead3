"""Plots of errors of networks that learned from different sets of faces."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from facesem_jax.errors import FacesemError
from facesem_jax.viz.figures import LIGHT, TEXT_SIZE, Palette, style_axes

_FIGURE = (3.4, 2.6)  # Inches.
_LINES = ((0, ()), (0, (1, 1.5)), (0, ()), (0, (5, 2)))


def error_by_size_figure(
    sizes: Sequence[int],
    errors: Mapping[str, Sequence[float]],
    unit: str,
    palette: Palette = LIGHT,
) -> Figure:
    """Error against the number of faces, one line per way of making the set.

    Args:
      sizes: Numbers of faces.
      errors: Way to errors, one per size.
      unit: Of the errors; "1" for a pure number.
      palette: Colours.

    Raises:
      FacesemError: If a way has not one error per size.
    """
    figure, axes = _axes(unit)
    for way, style in _styles(errors, len(sizes), palette):
        axes.plot(sizes, errors[way], label=way, marker="o", markersize=3, **style)
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(n) for n in sizes])
    axes.minorticks_off()
    axes.set_xlabel("faces near the middle")
    return _finish(figure, axes, palette)


def error_by_value_figure(
    errors: Mapping[str, Sequence[float]],
    wide: float,
    title: str,
    unit: str,
    palette: Palette = LIGHT,
) -> Figure:
    """Error by the size of what is read, one line per way of making the set.

    Args:
      errors: Way to errors, one per bin; the bins divide 0 to ``wide`` evenly.
      wide: The largest value.
      title: Above the plot.
      unit: Of the errors and values; "1" for a pure number.
      palette: Colours.

    Raises:
      FacesemError: If the ways differ in their number of bins.
    """
    count = len(next(iter(errors.values())))
    figure, axes = _axes(unit)
    middles = (np.arange(count) + 0.5) * wide / count
    for way, style in _styles(errors, count, palette):
        axes.plot(middles, errors[way], label=way, marker="o", markersize=3, **style)
    axes.set_title(title, fontsize=TEXT_SIZE, color=palette.ink, parse_math=False)
    axes.set_xlabel("distance from the middle" + ("" if unit == "1" else f", {unit}"))
    axes.set_xlim(0, wide)
    return _finish(figure, axes, palette)


def _axes(unit: str):
    figure = Figure(figsize=_FIGURE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylabel("mean absolute error" + ("" if unit == "1" else f", {unit}"))
    return figure, axes


def _styles(errors, count: int, palette: Palette):
    colours = (palette.faint, palette.faint, palette.accent, palette.ink)
    for i, (way, values) in enumerate(errors.items()):
        if len(values) != count:
            raise FacesemError(f"{way} has {len(values)} errors; expected {count}.")
        style = {"color": colours[i % 4], "linestyle": _LINES[i % 4], "linewidth": 1.6}
        yield way, style


def _finish(figure: Figure, axes, palette: Palette) -> Figure:
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=TEXT_SIZE - 1, labelcolor=palette.ink)
    style_axes(axes, palette)
    return figure
