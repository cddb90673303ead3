"""The page that shows what `experiments.decomposer_ablation` found: table and sheets."""

import pathlib
from collections.abc import Mapping

import numpy as np
from PIL import Image

from experiments import report_html as html
from experiments.ablation_variants import VARIANTS
from experiments.report_page import page, record
from experiments.results_page import markdown_table
from facesem_jax.viz.sheets import DECOMPOSITION_ROWS

TITLE = "What stabilises the decomposer"
#: Number to its heading; shares are shown in per cent.
COLUMNS = {
    "error": "reconstruction error",
    "convex_seeds": "seeds convex",
    "convex_faces": "faces convex",
    "yaw_sign": "seeds with the right sign of yaw",
    "yaw": "yaw, correlation",
    "yaw_r2": "yaw, R²",
    "yaw_slope": "yaw, slope",
    "albedo_pose": "albedo under pose",
    "albedo_light": "albedo under light",
    "depth_pose": "depth under pose",
    "depth_light": "depth under light",
}
_SHARES = ("convex_seeds", "convex_faces", "yaw_sign")


def cell(row: Mapping, name: str) -> str:
    """A number of a variant as text: mean and spread over the seeds, or a share of them."""
    value = row.get(name)
    if isinstance(value, Mapping):
        if value["mean"] is None:
            return html.DASH
        if name in _SHARES:
            return html.percent(value["mean"], 0)
        mean = html.number(value["mean"])
        if value["spread"] is None:  # One seed has it: nothing is known.
            return mean
        return f"{mean} ± {html.number(value['spread'], 1)}"
    if value is None:
        return html.DASH
    return f"{round(value * row['seeds'])} of {row['seeds']}"


def markdown(metrics: Mapping) -> str:
    """The table of the page, for the documentation.

    Args:
      metrics: The contents of ``metrics.json``.
    """
    rows = [
        [VARIANTS[name].title, *(cell(row, column) for column in COLUMNS)]
        for name, row in metrics["variants"].items()
    ]
    return markdown_table(["", *COLUMNS.values()], rows)


def render_report(metrics: Mapping, sheets: Mapping[str, pathlib.Path]) -> str:
    """The page.

    Args:
      metrics: The contents of ``metrics.json``.
      sheets: Of each variant, a picture of faces taken apart by its first seed.

    Returns:
      HTML; every text from the results is escaped.
    """
    rows = metrics["variants"]
    jobs = sum(row["seeds"] for row in rows.values())
    steps = html.lookup(metrics, "settings", "steps")
    lead = (
        f"{len(rows)} kinds of training, {jobs} of {html.number(steps, 6)} steps in all: every "
        "part, each left out in turn, and plain Unsup3D."
    )
    sections = [
        ("numbers", "Numbers", _numbers(rows)),
        ("sheets", "Faces taken apart", _sheets(sheets)),
        ("record", "Settings, versions, time", record(metrics)),
    ]
    return page(TITLE, lead, sections)


def _numbers(rows: Mapping) -> str:
    note = (
        '<p class="note">Mean ± standard deviation over the seeds, on held-out faces. '
        "Reconstruction error: mean absolute difference in units of [−1, 1]. Convex: depth recedes "
        "from the middle and is nearest in the central third; a seed counts if most of its faces "
        "are. Yaw: against MediaPipe’s; a seed’s sign is right above a correlation of 0.1. Albedo "
        "and depth under pose and light: how far two pictures of one face, edited to either side, "
        "are apart, as a share of how far two faces are; 0 is best.</p>"
    )
    body = [
        (html.text(VARIANTS[name].title), *(cell(row, column) for column in COLUMNS))
        for name, row in rows.items()
    ]
    return note + html.table(("", *COLUMNS.values()), body)


def _sheets(sheets: Mapping[str, pathlib.Path]) -> str:
    parts = [f"<p>Rows: {', '.join(DECOMPOSITION_ROWS)}. Depth: near is white.</p>"]
    for name, path in sheets.items():
        pixels = np.asarray(Image.open(path).convert("RGB"))
        rows = len(DECOMPOSITION_ROWS)
        columns = max(round(pixels.shape[1] * rows / pixels.shape[0]), 1)
        variant = VARIANTS[name]
        parts.append(
            f'<div class="semantic"><h3>{html.text(variant.title)}</h3>'
            f'<p class="note">{html.text(variant.note)}</p>'
            + html.scroll(
                html.picture(
                    pixels,
                    f"Faces taken apart by {variant.title}",
                    cells=(rows, columns),
                    style="--cell:96px;",
                )
            )
            + "</div>"
        )
    return "".join(parts)
