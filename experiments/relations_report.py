"""The page that shows what `experiments.relations` found."""

from typing import TYPE_CHECKING

from experiments import report_html as html
from experiments.report_page import page, record
from facesem_jax.viz import relation_figures as figures

if TYPE_CHECKING:
    from experiments.relations import RelationsResults

TITLE = "How directions relate"
_TESTS = {
    "spatial": (
        "where the maps lie",
        "Directions of maps that overlap (blurred by two pixels) against those that do not.",
    ),
    "left_right": (
        "where they lie, either side",
        "A left part counts as near its right counterpart.",
    ),
    "mirrored_only": ("their mirror images", "Overlap with the other map’s mirror image alone."),
    "trees": (
        "the atlas’s tree",
        "Heights at which two components meet in the dendrogram of the directions, against the "
        "tree of the face’s regions.",
    ),
}


def render_report(results: "RelationsResults") -> str:
    """The page.

    Args:
      results: What to show.

    Returns:
      HTML; every text from the results is escaped.
    """
    sections = [
        ("tests", "Tests", _tests(results)),
        ("rotations", "Against rotated factorisations", _rotations(results)),
        ("trees", "Two trees", _trees(results)),
        ("record", "Settings, versions, time", record(results.metrics)),
    ]
    spatial = results.metrics["mantel"]["spatial"]
    lead = (
        f"Of {len(results.labels)} live components, the directions of those that act near each "
        f"other {_verdict(spatial)} (Mantel r {html.number(spatial['r'])}, "
        f"p {html.number(spatial['p'])})."
    )
    return page(TITLE, lead, sections)


def _verdict(test: dict) -> str:
    related = test["r"] is not None and test["r"] > 0 and test["p"] < 0.05
    return "are more alike than chance" if related else "are not more alike than chance would have"


def _tests(results: "RelationsResults") -> str:
    tests = results.metrics["mantel"]
    rows = [
        (words, html.number(tests[name]["r"]), html.number(tests[name]["p"]), html.text(note))
        for name, (words, note) in _TESTS.items()
    ]
    pixels = results.metrics["pixels"]
    rows.append(
        (
            "pixels of J*",
            html.number(pixels["r"]),
            html.number(pixels["p"]),
            "No factorisation: how alike two pixels’ Jacobians are, against how far apart they "
            f"lie; {pixels['count']} pixels.",
        )
    )
    words = (
        "<p>Correlation r of two distance matrices over the same components, and the chance p of "
        "one at least as large if components were paired anew (one-sided).</p>"
    )
    return words + html.table(("distance of directions against", "r", "p", ""), rows, "headline")


def _rotations(results: "RelationsResults") -> str:
    found = results.metrics["rotations"]
    words = (
        "<p>Directions that are turned at random within their span, with the least-squares maps "
        "that belong to them, explain as much of the mean Jacobian as the run’s own with theirs, "
        f"and have the same cosines between them. Of {found['count']} such, r is "
        f"{html.number(found['null_mean'])} on average (standard deviation "
        f"{html.number(found['null_std'])}, largest {html.number(found['null_max'])}); that of the "
        "run’s own directions, with least-squares maps in place of the sparse ones, is "
        f"{html.number(found['r'])}: p = {html.number(found['p'])}.</p>"
    )
    plot = html.figure(
        lambda palette: figures.null_figure(results.null, found["r"], palette),
        "Histogram of Mantel's r of rotated factorisations, with the run's own",
    )
    return words + html.scroll(plot)


def _trees(results: "RelationsResults") -> str:
    words = (
        "<p>Average-linkage trees: of the directions by cosine distance on the left, of the same "
        "components by the tree of the face’s regions on the right.</p>"
    )
    plots = "".join(
        "<div>"
        + html.scroll(
            html.figure(
                lambda palette, d=distances, n=name: figures.tree_figure(
                    d, results.labels, n, palette
                ),
                f"Dendrogram of {len(results.labels)} components by {name}",
            )
        )
        + "</div>"
        for name, distances in (
            ("cosine distance of directions", results.distances),
            ("distance of regions, share of the frame", results.placed),
        )
    )
    return f'{words}<div class="columns">{plots}</div>'
