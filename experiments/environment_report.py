"""The page that shows what `experiments.environment` found: one self-contained HTML file."""

import numpy as np

from experiments import report_html as html
from experiments.environment_results import EnvironmentResults
from experiments.report_page import page, record
from experiments.report_semantics import strip_picture
from facesem_jax.viz import environment_figures as figures

TITLE = "Pose and light in the latent space"


def render_report(results: EnvironmentResults) -> str:
    """The page.

    Args:
      results: What to show.

    Returns:
      HTML; every text from the results is escaped.
    """
    sections = [
        ("numbers", "Numbers", _numbers(results)),
        ("samples", "What a direction costs", _curves(results)),
        ("response", "Long edits", _responses(results)),
        ("leakage", "Leakage", _leakage(results)),
        ("strips", "Strips", _strips(results)),
        ("record", "Settings, versions, time", record(results.metrics, _times(results))),
    ]
    return page(TITLE, _lead(results), sections)


def _lead(results: EnvironmentResults) -> str:
    rows = results.metrics["semantics"]
    best = max(rows, key=lambda n: rows[n]["r2"])
    worst = min(rows, key=lambda n: rows[n]["r2"])
    return (
        f"Of {len(rows)} global semantics, {_name(best)} is the most linear in w "
        f"(held-out R² {html.number(rows[best]['r2'])}) and {_name(worst)} the least "
        f"({html.number(rows[worst]['r2'])}). Every number is the decomposer’s own reading."
    )


def _name(name: str) -> str:
    return html.text(name.replace("_", " "))


def _numbers(results: EnvironmentResults) -> str:
    head = (
        "semantic",
        "unit",
        "spread",
        "R², held-out",
        "cosine, regression and exact",
        "faces for the exact’s score",
        "their time",
        "time of the exact",
        "gain",
        "linear to",
    )
    rows = []
    for name, row in results.metrics["semantics"].items():
        needed, plain = row["samples_needed"], row["plain"]
        rows.append(
            (
                _name(name),
                html.unit_name(row["unit"]).removesuffix(", no unit"),
                html.with_unit(row["spread"], row["unit"]),
                html.number(row["r2"]),
                html.number(row["cosine"]),
                "never" if needed is None else html.number(needed),
                html.DASH if needed is None else f"{html.number(row['seconds_needed'], 2)} s",
                f"{html.number(row['exact_seconds'], 2)} s",
                html.number(plain["gain"]),
                html.with_unit(plain["linear_to"], row["unit"]),
            )
        )
    note = (
        '<p class="note">R²: share of the semantic’s variance on held-out faces that the linear '
        "model predicts. Cosine: 1 where the regression on all faces and the mean exact gradient "
        "agree. Faces for the exact’s score: regressions on fewer find a direction along which "
        "less of the variance lies than along the mean gradient. Gain: change measured per unit "
        "asked for small edits. Linear to: the largest edit, to either side, that stays within a "
        "tenth of gain times amount.</p>"
    )
    return note + html.table(head, rows)


def _curves(results: EnvironmentResults) -> str:
    curve, exact = results.curve, results.exact
    words = (
        "<p>Share of the variance of held-out faces that lies along a direction, against the "
        "number of faces it was found from. Solid: regression, with one standard deviation over "
        f"up to {int(curve.repeats.max())} different sets of faces. Dashed: the mean of exact "
        "gradients. One face costs "
        f"{html.number(1e3 * results.metrics['forward_seconds'])} ms to decompose, and "
        f"{html.number(1e3 * exact.seconds)} ms to differentiate.</p>"
    )
    return words + _grid(
        (
            name,
            html.figure(
                lambda palette, k=k: figures.sample_curve_figure(
                    curve.counts,
                    curve.score[:, k],
                    curve.score_spread[:, k],
                    exact.counts,
                    exact.score[:, k],
                    palette,
                ),
                f"Variance along the direction of {name} against the number of samples",
            ),
        )
        for k, name in enumerate(results.names)
    )


def _responses(results: EnvironmentResults) -> str:
    plain = results.edits["plain"]
    words = (
        "<p>The measured change against the one asked, along the regression’s direction: the mean "
        "over faces with a band of one standard deviation. Dashed: the linear prediction, the "
        "slope of the smallest edits.</p>"
    )
    units = results.metrics["semantics"]
    return words + _grid(
        (
            name,
            html.figure(
                lambda palette, k=k, name=name: figures.response_band_figure(
                    plain.amounts[k],
                    plain.responses[k].mean,
                    plain.responses[k].spread,
                    plain.responses[k].gain,
                    units[name]["unit"],
                    palette,
                ),
                f"Measured against asked change of {name}",
            ),
        )
        for k, name in enumerate(results.names)
    )


def _grid(plots) -> str:
    cells = "".join(f"<div><h3>{_name(name)}</h3>{plot}</div>" for name, plot in plots)
    return f'<div class="columns">{cells}</div>'


def _leakage(results: EnvironmentResults) -> str:
    words = (
        "<p>The semantic of the row is edited by one of its standard deviations; the columns say "
        "how far every semantic moved on average, in its own standard deviations: 1 on the "
        "diagonal and 0 beside it for an edit that does what it says and no more. Decorrelated "
        "edits take the shortest step whose linear prediction for all other semantics is 0.</p>"
    )
    plots = "".join(
        f"<div><h3>{html.text(kind)}</h3>"
        + html.scroll(
            html.figure(
                lambda palette, edits=edits: figures.leakage_figure(
                    edits.leakage.mean, results.names, palette
                ),
                f"Leakage of {kind} edits",
            )
        )
        + "</div>"
        for kind, edits in results.edits.items()
    )
    return f'{words}<div class="columns">{plots}</div>'


def _strips(results: EnvironmentResults) -> str:
    parts = []
    for k, name in enumerate(results.names):
        for kind, strips in results.strips.items():
            parts.append(
                f'<div class="semantic"><h3>{_name(name)}, {html.text(kind)}</h3>'
                f"{strip_picture(strips[k])}</div>"
            )
    return "".join(parts)


def _times(results: EnvironmentResults) -> list[tuple[str, str]]:
    return [
        ("one face decomposed", html.number(results.metrics["forward_seconds"])),
        ("one face differentiated", html.number(results.metrics["gradient_seconds"])),
        ("largest regression (faces)", html.number(np.max(results.curve.counts), 7)),
    ]
