"""The page that shows what `experiments.compare` found."""

import numpy as np

from experiments import report_html as html
from experiments.compare_results import COLUMNS, Column, CompareResults
from experiments.report_page import page, record
from facesem_jax.viz import overlays, sheets

TITLE = "Methods of discovery compared"
_GROUPS = {
    "Where and what": ("locality", "purity", "view", "light", "identity"),
    "As landmarks see it": ("yaw", "pitch", "mouth_opening", "eye_opening", "brow_height"),
    "As a set": ("max_cosine", "mean_cosine", "jacobian_share", "latent_share", "seconds"),
}


def render_report(results: CompareResults) -> str:
    """The page.

    Args:
      results: What to show.

    Returns:
      HTML; every text from the results is escaped.
    """
    sections = [
        ("winners", "Who is best at what", _winners(results)),
        ("numbers", "Numbers", "".join(_group(results, *g) for g in _GROUPS.items())),
        ("strips", "Side by side", _strips(results)),
        ("record", "Settings, versions, time", record(results.metrics)),
    ]
    return page(TITLE, _lead(results), sections)


def _lead(results: CompareResults) -> str:
    entries = results.metrics["winners"]
    ours = "local (ours)"
    won = [COLUMNS[k].title for k, e in entries.items() if e["best"] == ours]
    lost = [k for k, e in entries.items() if e["best"] != ours and ours not in e["tied"]]
    lines = [
        f"Every edit changes the pictures by {html.number(results.metrics['change'])} (root mean "
        "square, of a range of 2; its length is found on a few faces, upwards). Of the methods "
        "that are not told what to look for, ours is best "
        f"in {', '.join(map(html.text, won)) or 'nothing'}"
    ]
    if lost:
        others = ", ".join(
            f"{html.text(COLUMNS[k].title)} ({html.text(entries[k]['best'])})" for k in lost
        )
        lines.append(f"; others are clearly better in {others}")
    return "".join(lines) + "."


def _winners(results: CompareResults) -> str:
    rows = [
        (
            html.text(COLUMNS[key].title),
            html.text(entry["best"]),
            html.text(", ".join(entry["tied"])) or html.DASH,
            html.text(f"{COLUMNS[key].better} is better: {COLUMNS[key].note}"),
        )
        for key, entry in results.metrics["winners"].items()
    ]
    words = (
        "<p>Among the methods without given semantics. Tied: methods whose 95 % interval overlaps "
        "the best one’s (bootstrap over faces); columns without intervals have none.</p>"
    )
    left_out = "".join(
        f'<p class="note">{html.text(name)} is left out: {html.text(reason)}</p>'
        for name, reason in results.metrics["left_out"].items()
    )
    return words + html.table(("", "best", "tied", "how to read it"), rows) + left_out


def _group(results: CompareResults, title: str, keys: tuple[str, ...]) -> str:
    rows = results.metrics["methods"]
    shown = [k for k in keys if any(k in row for row in rows.values())]
    missing = {results.absent[k] for k in keys if k in results.absent}
    notes = "".join(
        f'<p class="note">Not measured here: install with <code>{html.text(command)}</code></p>'
        for command in sorted(missing)
    )
    if not shown:
        return f'<div class="semantic"><h3>{title}</h3>{notes}</div>'
    reading = "; ".join(f"{COLUMNS[k].title}: {COLUMNS[k].note}" for k in shown)
    body = [
        (html.text(name), str(row["directions"]), *(_cell(row.get(k), COLUMNS[k]) for k in shown))
        for name, row in rows.items()
    ]
    head = ("method", "directions", *(html.text(COLUMNS[k].title) for k in shown))
    return (
        f'<div class="semantic"><h3>{title}</h3><p class="note">{html.text(reading)}.</p>'
        f"{html.table(head, body)}{notes}</div>"
    )


def _cell(entry: dict | None, column: Column) -> str:
    if entry is None or entry["mean"] is None:
        return html.DASH

    def shown(value):
        return html.percent(value) if column.unit == "percent" else html.number(value)

    unit = {"degrees": "°", "s": " s"}.get(column.unit, "")
    if entry.get("low") is None:
        return shown(entry["mean"]) + unit
    ends = (shown(entry[k]).removesuffix("\u00a0%") for k in ("low", "high"))
    return f'{shown(entry["mean"])}{unit} <span class="quiet">[{", ".join(ends)}]</span>'


def _strips(results: CompareResults) -> str:
    words = (
        "<p>Per region, the direction of each method that has the largest share of its change of "
        "albedo and depth there, at minus twice and plus twice the calibrated step, and the "
        "difference between the upper end and the middle.</p>"
    )
    return words + "".join(
        f'<div class="semantic"><h3>{html.text(region)}</h3>'
        + "".join(_strip(name, *strip) for name, strip in methods.items())
        + "</div>"
        for region, methods in results.strips.items()
        if methods
    )


def _strip(method: str, direction: str, images: np.ndarray) -> str:
    amounts = np.array([-1.0, 0.0, 1.0])
    differences, limit = overlays.strip_difference(images, amounts)
    rows = images.shape[0]
    title = f"{method}, {direction}"
    moved = html.picture(
        sheets.strip_sheet(images), title, cells=(rows, 3), step=5, style="grid-column:1/span 3"
    )
    changed = html.picture(
        sheets.column(differences),
        f"Change of {title}, full colour at {html.percent(limit, 0)}",
        cells=(rows, 1),
        step=5,
        style="grid-column:5",
    )
    cells = (
        '<div class="cells" style="grid-template-columns:repeat(3,var(--cell)) 24px var(--cell)">'
        f"{moved}{changed}</div>"
    )
    head = f"<p>{html.text(method)}: <code>{html.text(direction)}</code></p>"
    return f"<div>{head}{html.scroll(cells)}</div>"
