"""The page that shows what `experiments.augment` found."""

from typing import TYPE_CHECKING

import numpy as np

from experiments import report_html as html
from experiments.augment_sets import ADDED, WAYS
from experiments.report_page import page, record
from facesem_jax.viz import sheets
from facesem_jax.viz.augment_figures import error_by_size_figure, error_by_value_figure

if TYPE_CHECKING:
    from experiments.augment import AugmentResults

TITLE = "Extrapolated faces as training data"
_WORDS = {
    "nothing": "the narrow set alone",
    "copies": "mirrored and jittered copies",
    "extrapolated": "faces extrapolated along the direction",
    "balanced": "real faces of all kinds (the ceiling)",
}


def render_report(results: "AugmentResults") -> str:
    """The page.

    Args:
      results: What to show.

    Returns:
      HTML; every text from the results is escaped.
    """
    labels = results.metrics["labels"]
    sections = [
        (label, label.capitalize(), _label(label, numbers, *results.shown[label]))
        for label, numbers in labels.items()
    ]
    sections.append(("record", "Settings, versions, time", record(results.metrics)))
    return page(TITLE, _lead(labels), sections)


def _lead(labels: dict) -> str:
    parts = []
    for label, numbers in labels.items():
        size, ways = list(numbers["sizes"].items())[-1]
        outer = {way: ways[way]["bins"][-1] for way in WAYS}
        gain, worth = outer["extrapolated"], outer["nothing"]["mean"]
        verdict = (
            "lower" if gain["low"] > 0 else "raise" if gain["high"] < 0 else "do not clearly change"
        )
        unit = numbers["unit"]
        parts.append(
            f"For {html.text(label)} with {size} narrow faces, extrapolated ones {verdict} the "
            f"error in the outermost bin ({html.with_unit(worth, unit)} without, "
            f"{html.with_unit(outer['extrapolated']['mean'], unit)} with them; copies "
            f"{html.with_unit(outer['copies']['mean'], unit)}, real faces "
            f"{html.with_unit(outer['balanced']['mean'], unit)})."
        )
    return " ".join(parts)


def _label(label: str, numbers: dict, images: np.ndarray, targets: np.ndarray) -> str:
    unit = numbers["unit"]
    words = (
        f"<p>The narrow set’s labels lie within ±{html.with_unit(numbers['narrow'], unit)}, those "
        f"of the {numbers['test_faces']} test faces, as evenly as there are faces, within "
        f"±{html.with_unit(numbers['wide'], unit)}. Each way adds {ADDED} faces to every narrow "
        "one, and all networks take the same number of steps. Errors are mean absolute errors.</p>"
    )
    sizes = list(numbers["sizes"])
    rows = [
        (
            _WORDS[way],
            *(
                f"{html.number(numbers['sizes'][n][way]['mean'])} ± "
                f"{html.number(numbers['sizes'][n][way]['std'], 2)}"
                for n in sizes
            ),
        )
        for way in WAYS
    ]
    table = html.table(("added", *(f"{n} faces" for n in sizes)), rows)
    gains = html.table(
        ("gain over the narrow set alone", *(f"{n} faces" for n in sizes)),
        [
            (f"{_WORDS[way]}, {where}", *(_gain(numbers["sizes"][n][way], b) for n in sizes))
            for way in WAYS[1:]
            for where, b in (("all test faces", None), ("outermost bin", -1))
        ],
    )
    plots = "".join(
        f"<div>{plot}</div>"
        for plot in (
            html.figure(
                lambda palette: error_by_size_figure(
                    [int(n) for n in sizes],
                    {w: [numbers["sizes"][n][w]["mean"] for n in sizes] for w in WAYS},
                    unit,
                    palette,
                ),
                f"Error of {label} against the number of narrow faces",
            ),
            *(
                html.figure(
                    lambda palette, n=n: error_by_value_figure(
                        {w: [b["mean"] for b in numbers["sizes"][n][w]["bins"]] for w in WAYS},
                        numbers["wide"],
                        f"{n} narrow faces",
                        unit,
                        palette,
                    ),
                    f"Error of {label} by its size, {n} narrow faces",
                )
                for n in (sizes[0], sizes[-1])
            ),
        )
    )
    return (
        f'{words}{table}<div class="semantic"><div class="columns">{plots}</div></div>'
        '<div class="semantic"><p>How much lower the error is than with the narrow set alone, '
        f"with 95 % intervals (paired bootstrap over test faces).</p>{gains}</div>"
        f'<div class="semantic">{_faces(label, numbers, images, targets)}</div>'
    )


def _gain(way: dict, index: int | None) -> str:
    part = way if index is None else way["bins"][index]
    return f"{html.number(part['gain'])} [{html.number(part['low'])}, {html.number(part['high'])}]"


def _faces(label: str, numbers: dict, images: np.ndarray, targets: np.ndarray) -> str:
    found, unit = numbers["labels"], numbers["unit"]
    heads = "".join(
        f'<span class="head">{html.with_unit(t, unit, signed=True)}</span>' for t in targets
    )
    picture = html.picture(
        sheets.strip_sheet(images),
        f"{len(images)} narrow faces extrapolated along {label}",
        cells=images.shape[:2],
        step=5,
        style=f"grid-column:1/span {len(targets)}",
    )
    columns = f"grid-template-columns:repeat({len(targets)},var(--cell))"
    return (
        "<p>Faces of the narrow set, extrapolated to the labels above them. Of 256 such faces the "
        f"source of the labels reads {html.percent(found['found'], 0)}; what it measures has slope "
        f"{html.number(found['slope'])} on the predicted label, correlation "
        f"{html.number(found['correlation'])} and a mean absolute difference of "
        f"{html.with_unit(found['error'], unit)}.</p>"
        + html.scroll(f'<div class="cells" style="{columns}">{heads}{picture}</div>')
    )
