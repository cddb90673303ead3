"""Parts of a self-contained HTML page: text, numbers, pictures, tables."""

import html
import json
import math
import numbers
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure

from facesem_jax.viz import figures, png

DASH = "–"
"""Stands for a number that is missing or not finite."""
_DOTS_PER_INCH = 192
_PIXELATED_BELOW = 128  # Pixels per side of one face: larger ones are not enlarged.


def text(value: object) -> str:
    """Any value as escaped text, also for attributes."""
    return html.escape(str(value), quote=True)


def as_number(value: object) -> float | None:
    """A finite float, or ``None`` for anything else: a missing key, NaN, text."""
    if not isinstance(value, numbers.Real) and not isinstance(value, np.generic):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def lookup(tree: object, *keys: str) -> object:
    """A value in nested mappings, or ``None`` where a key is missing."""
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(key)
    return tree


def mapping(value: object) -> Mapping:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def number(value: object, digits: int = 3) -> str:
    """A number with so many significant digits and a true minus sign, or a dash."""
    found = as_number(value)
    if found is None:
        return DASH
    if found and abs(found) >= 10**digits and abs(found) < 1e7:
        shown = f"{found:.0f}"
    else:
        shown = f"{found:.{digits}g}"
    return shown.replace("-", "−")


def percent(value: object, digits: int = 1) -> str:
    """A share as a percentage, or a dash."""
    found = as_number(value)
    if found is None:
        return DASH
    # Rounding first, and adding 0, so that no "−0.0" appears.
    shown = round(100 * found, digits) + 0.0
    return f"{shown:.{digits}f} %".replace("-", "−").replace(" ", "\u00a0")


def with_unit(value: object, unit: str, *, signed: bool = False) -> str:
    """A number in a semantic's unit: degrees, "w" (a distance in W) or "1" (a pure number)."""
    found = as_number(value)
    if found is None:
        return DASH
    sign = "+" if signed and found > 0 else ""
    suffix = {"degrees": "°", "1": "", "w": ""}.get(unit, f"\u00a0{text(unit)}")
    return f"{sign}{number(found)}{suffix}"


def unit_name(unit: str) -> str:
    """A unit in words."""
    names = {"1": "a pure number, no unit", "w": "distance in W"}
    return names.get(unit, text(unit))


def picture(
    pixels: UInt8[np.ndarray, "h w 3"],
    alt: str,
    *,
    cells: tuple[int, int] = (1, 1),
    step: int = 1,
    style: str = "",
) -> str:
    """A picture of rows by columns of equal cells, drawn at the page's cell width.

    Args:
      pixels: Native pixels; the browser enlarges them.
      alt: What it shows, as plain text.
      cells: Rows and columns of faces in it.
      step: See `png.picture_png`.
      style: More inline CSS.
    """
    height, width = pixels.shape[:2]
    enlarged = ' class="pixels"' if height // cells[0] < _PIXELATED_BELOW else ""
    return (
        f'<img{enlarged} width="{width}" height="{height}" alt="{text(alt)}" '
        f'style="width:calc({cells[1]}*var(--cell));{style}" '
        f'src="{png.data_uri(png.picture_png(pixels, step))}">'
    )


def figure(draw: Callable[[figures.Palette], Figure], alt: str) -> str:
    """A plot, drawn once for a light and once for a dark page.

    Args:
      draw: Makes the figure in a palette.
      alt: What it shows, as plain text.
    """
    light, dark = draw(figures.LIGHT), draw(figures.DARK)
    width, height = (round(96 * inches) for inches in light.get_size_inches())
    uris = [png.data_uri(png.figure_png(f, _DOTS_PER_INCH)) for f in (light, dark)]
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{uris[1]}">'
        f'<img class="plot" width="{width}" height="{height}" alt="{text(alt)}" src="{uris[0]}">'
        "</picture>"
    )


def scroll(inner: str) -> str:
    """A box in which wide content scrolls, so that the page does not."""
    return f'<div class="scroll" tabindex="0">{inner}</div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, already HTML, side by side."""
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{items}</dl>'


def table(head: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    """A table of cells that are already HTML; the first cell of a row is its heading.

    Args:
      head: Column headings; none for no heading row.
      rows: Cells.
      kind: A CSS class.
    """
    heading = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    top = f"<thead><tr>{heading}</tr></thead>" if heading else ""
    return scroll(f'<table class="{kind}">{top}<tbody>{body}</tbody></table>')


def setting(value: object) -> str:
    """A setting's value as escaped text: JSON where it has structure, a dash for none or NaN."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, Mapping | list | tuple):
        return text(json.dumps(value, default=str, ensure_ascii=False))
    return text(value)
