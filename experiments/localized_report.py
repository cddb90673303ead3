"""The page that shows what `experiments.localized` found: one self-contained HTML file."""

from collections.abc import Iterator

import numpy as np

from experiments import report_html as html
from experiments import report_semantics as semantics
from experiments.decomposition import faces_sheet
from experiments.localized_results import LocalizedResults
from experiments.report_page import page, record
from facesem_jax.viz import figures, sheets

TITLE = "Facial semantics found without labels"
_VIEW = ("pitch", "yaw", "roll")
_LIGHT = ("ambient", "diffuse", "light x", "light y")


def render_report(results: LocalizedResults) -> str:
    """The page: no script, no external resource, light or dark as the reader prefers.

    Args:
      results: What to show. Keys that ``metrics`` lacks, ``None`` and NaN appear as a dash.

    Returns:
      HTML; every text from the results is escaped.

    Raises:
      FacesemError: If arrays of the results do not fit each other.
    """
    sections = [
        ("numbers", "Numbers", _headline(results)),
        ("samples", "Samples", _samples(results)),
        ("decomposition", "Decomposition", _decomposition(results)),
        ("environment", "Pose and light", semantics.environment_section(results)),
        ("gallery", "Local components", semantics.gallery_section(results)),
        ("strips", "Manipulation", semantics.strips_section(results)),
        ("relations", "Relations between directions", _relations(results)),
        ("objective", "Objective", _objective(results)),
        ("record", "Settings, versions, time", _record(results)),
    ]
    return page(TITLE, _summary(results), sections)


def _summary(results: LocalizedResults) -> str:
    table, metrics = results.components, results.metrics
    live = int(np.sum(table.live))
    named = [
        p
        for p in np.argsort(-np.nan_to_num(table.confidence), kind="stable")
        if table.live[p] and table.regions[p] not in ("face", "dead")
    ][:4]
    names = ", ".join(
        f'<a href="#component-{p}"><code>{html.text(table.labels[p])}</code></a> '
        f"({html.percent(table.confidence[p], 0)})"
        for p in named
    )
    last = (
        f"The most clearly placed ones, by the share of a map’s energy in its region, are {names}."
        if named
        else "None of them is concentrated in one region of the face."
    )
    return (
        f"Of {len(table.live)} local components, {live} are live. "
        f"Together they explain {html.percent(metrics.get('explained_variance'))} of the mean "
        "derivative of albedo and depth with respect to the latent, with maps of which "
        f"{html.percent(metrics.get('sparsity'))} is exactly zero. {last}"
    )


def _headline(results: LocalizedResults) -> str:
    rows = list(_headline_rows(results))
    return html.table(("quantity", "value", "unit", "how to read it"), rows, "headline")


def _headline_rows(results: LocalizedResults) -> Iterator[tuple[str, str, str, str]]:
    metrics, table = results.metrics, results.components
    live = np.asarray(table.live)
    yield (
        "Explained variance",
        html.percent(metrics.get("explained_variance")),
        "share",
        "How much of the mean Jacobian’s energy the components reproduce; not centred, "
        "so the mean counts as something to explain.",
    )
    yield (
        "Sparsity",
        html.percent(metrics.get("sparsity")),
        "share",
        "Exact zeros among the maps’ unmasked entries; the more, the smaller the parts of the "
        "face that components act on.",
    )
    yield (
        "Live components",
        f"{int(live.sum())} of {len(live)}",
        "count",
        "The others were driven to zero by the sparsity penalty.",
    )
    yield (
        "Redundancy, max |v<sub>i</sub>·v<sub>j</sub>|",
        html.number(metrics.get("max_abs_cosine")),
        "cosine",
        "The closest pair of directions: 0 if all are orthogonal, 1 if two are the same.",
    )
    yield (
        "Edit locality, median",
        html.percent(_median(table.edit_locality, live)),
        "share",
        "The part of an edit’s change that falls inside the component’s own map; a change spread "
        f"evenly would score {html.percent(_median(table.support_area, live))}.",
    )
    yield (
        "View leakage, median",
        html.with_unit(_median(table.view_leakage_degrees, live), "degrees"),
        "degrees",
        "How far a local edit of two standard deviations of W turns the head; ideally not at all.",
    )
    mantel = html.mapping(metrics.get("mantel"))
    yield (
        "Mantel correlation r",
        html.number(mantel.get("r")),
        "correlation",
        "Above 0 where components that act near each other have similar directions.",
    )
    yield (
        "Mantel p",
        html.number(mantel.get("p")),
        "probability",
        "The chance of an r at least as large if components were paired at random.",
    )
    tangents = html.number(html.lookup(metrics, "jacobian", "tangents"))
    yield (
        "Jacobian cost",
        html.number(html.lookup(metrics, "jacobian", "cost_ratio")),
        "ratio",
        f"Time of one exact Jacobian over that of {tangents} forward passes, one for each "
        "direction of w it is taken along: the least that finite differences need.",
    )
    for name, entry in html.mapping(metrics.get("environment")).items():
        yield (
            f"R² of {html.text(name)}",
            html.number(html.lookup(entry, "r2")),
            "share",
            f"The part of {html.text(name)}’s variance on held-out faces that a linear function "
            "of the latent predicts.",
        )


def _median(values: np.ndarray, live: np.ndarray) -> float | None:
    kept = np.asarray(values, float)[live]
    kept = kept[np.isfinite(kept)]
    return float(np.median(kept)) if kept.size else None


def _samples(results: LocalizedResults) -> str:
    samples = results.samples
    if not len(samples):
        return "<p>No samples.</p>"
    columns = sheets.sheet_columns(len(samples))
    sheet = sheets.sample_sheet(samples, columns)
    rows = -(-len(samples) // columns)
    size = f"{samples.shape[2]} × {samples.shape[1]} pixels"
    return (
        f"<p>{len(samples)} faces drawn by the generator, uncurated, {size} each.</p>"
        + html.scroll(
            html.picture(sheet, f"{len(samples)} generated faces", cells=(rows, columns), step=3)
        )
    )


def _decomposition(results: LocalizedResults) -> str:
    faces = results.faces
    count, height, width = faces.images.shape[:3]
    if not count:
        return "<p>No faces.</p>"
    near, far = sheets.depth_range(faces.depth)
    sheet = faces_sheet(faces, near, far)
    rows = len(sheets.DECOMPOSITION_ROWS)
    tall = f"height:calc(var(--cell)*{height / width:.6g});display:flex;align-items:center"
    side = "".join(
        f'<span class="side" style="grid-column:1;grid-row:{i + 1};{tall}">{name}</span>'
        for i, name in enumerate(sheets.DECOMPOSITION_ROWS)
    )
    picture = html.picture(
        sheet,
        f"Decomposition of {count} faces; rows: {', '.join(sheets.DECOMPOSITION_ROWS)}",
        cells=(rows, count),
        style=f"grid-column:2/span {count};grid-row:1/span {rows}",
    )
    values = [(name, "degrees", faces.view[:, i]) for i, name in enumerate(_VIEW)]
    values = [values[1], values[0], values[2]]
    values += [(name, "1", faces.light[:, i]) for i, name in enumerate(_LIGHT)]
    caption = "".join(
        f'<span class="side" style="grid-column:1">{name}</span>'
        + "".join(f'<span class="value">{_value(v, unit)}</span>' for v in column)
        for name, unit, column in values
    )
    return (
        "<p>What the decomposer makes of each face: a canonical albedo and depth, seen frontally, "
        "and the view and light under which they give the input back.</p>"
        f'<p class="note">Depth in scene units: white {near:.2f} (near) to black {far:.2f} (far). '
        "Relief: the depth’s surface, lit from the upper left. View angles in degrees; ambient and "
        "diffuse strength and the light’s direction are pure numbers.</p>"
        + html.scroll(
            f'<div class="cells" style="grid-template-columns:max-content '
            f'repeat({count},var(--cell))">{side}{picture}{caption}</div>'
        )
    )


def _value(value: float, unit: str) -> str:
    found = html.as_number(value)
    if found is None:
        return html.DASH
    shown = f"{found:.1f}°" if unit == "degrees" else f"{found:.2f}"
    return shown.replace("-", "−")


def _relations(results: LocalizedResults) -> str:
    table = results.components
    labels = [label for label, live in zip(table.labels, table.live, strict=True) if live]
    mantel = html.mapping(results.metrics.get("mantel"))
    words = (
        "<p>Cosine distance between the live components’ directions, 1 − |cos|, clustered so that "
        "near ones stand side by side: coloured blocks are groups that move the latent "
        "in similar ways. Agreement with how far apart the maps lie on the face (Mantel’s test): "
        f"r = {html.number(mantel.get('r'))}, one-sided p = {html.number(mantel.get('p'))}.</p>"
    )
    if not labels:
        return words + "<p>No live components.</p>"
    plot = html.figure(
        lambda palette: figures.distance_figure(results.distances, results.order, labels, palette),
        f"Matrix of cosine distances between {len(labels)} directions, in clustered order",
    )
    return words + html.scroll(plot)


def _objective(results: LocalizedResults) -> str:
    values = np.asarray(results.objective, float)
    if not len(values):
        return "<p>No iterations.</p>"
    reason = results.metrics.get("stop_reason")
    words = (
        "<p>‖J* − UVᵀ‖² + α‖U‖₁ + β Σ(v<sub>i</sub>·v<sub>j</sub>)² after every accepted "
        "iteration, in the units of the factorisation, where ‖J*‖² is the latent’s number of "
        f"dimensions. {len(values)} iterations, from {html.number(values[0], 4)} to "
        f"{html.number(values[-1], 4)}; stopped because: "
        f"{html.text(html.DASH if reason is None else reason)}.</p>"
    )
    plot = html.figure(
        lambda palette: figures.objective_figure(values, palette),
        f"Objective over {len(values)} iterations, logarithmic iteration axis",
    )
    return words + html.scroll(plot)


def _record(results: LocalizedResults) -> str:
    jacobian = html.mapping(results.metrics.get("jacobian"))
    times = [
        ("one Jacobian", html.number(jacobian.get("seconds_per_sample"))),
        ("one evaluation", html.number(jacobian.get("forward_seconds"))),
        ("Jacobians taken (count)", html.number(jacobian.get("samples"), 6)),
    ]
    return record(results.metrics, times)
