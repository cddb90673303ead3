"""The page that shows what `experiments.synthetic_faces` measured."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from experiments import report_html as html
from experiments.report_page import page, record
from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.camera import intrinsics
from facesem_jax.decomposer.shading import normals_from_depth
from facesem_jax.viz.pictures import depth_picture, grid, relief_picture, rgb

TITLE = "Depth, view and light of synthetic heads"
#: Methods in the order of the paper's table.
NAMES = {
    "supervised": "supervised with true depth",
    "constant": "constant depth",
    "average": "average true depth",
    "unsupervised": "decomposer, without labels",
    "read": "the same before views are searched",
    "prior": "the training's prior in the true view",
    "shared": "mean canonical depth in the true view",
    "individual": "true canonical depth in the true view",
}
_ROWS = {"truth": "truth", "unsupervised": "decomposer", "supervised": "supervised"}
_QUANTITIES = {
    "pitch": ("pitch", "degrees"),
    "yaw": ("yaw", "degrees"),
    "roll": ("roll", "degrees"),
    "ambient": ("ambient light", "1"),
    "diffuse": ("diffuse light", "1"),
    "light_x": ("light from the side, d_x", "1"),
    "light_y": ("light from above, d_y", "1"),
    "light_direction": ("direction of the light", "degrees"),
}


@dataclasses.dataclass(frozen=True)
class SyntheticResults:
    """All that the page shows.

    Attributes:
      metrics: The contents of ``metrics.json``.
      images: A few heads, in [-1, 1].
      mask: Where they are.
      depths: In the view, by method, "truth" among them; scene units.
      config: Gives the camera.
    """

    metrics: dict
    images: Float[np.ndarray, "m h w 3"]
    mask: Bool[np.ndarray, "m h w"]
    depths: dict[str, Float[np.ndarray, "m h w"]]
    config: DecomposerConfig


def results_sheet(results: SyntheticResults) -> UInt8[np.ndarray, "H W 3"]:
    """A column per head: the picture, then depth and relief of the truth and of each method."""
    camera = intrinsics(results.config.image_size, results.config.fov_degrees)
    rows = [rgb(results.images)]
    for name in _shown_rows(results):
        depth = np.where(results.mask, results.depths[name], results.config.max_depth)
        normals = np.asarray(normals_from_depth(jnp.asarray(results.depths[name]), camera))
        relief = relief_picture(normals)
        rows += [depth_picture(depth), np.where(results.mask[..., None], relief, 0)]
    return grid(np.stack(rows).astype(np.uint8))


def render_report(results: SyntheticResults) -> str:
    """The page.

    Args:
      results: What to show.

    Returns:
      HTML; every text from the results is escaped.
    """
    metrics = results.metrics
    goal = metrics["margin"]
    lead = (
        f"After {metrics['steps_taken']['unsupervised']} steps without labels the depth error "
        f"(SIDE) is {html.number(goal['side']['ratio'])} of the average depth’s, where Unsup3D "
        f"reaches {html.number(goal['side']['published'])} of its own; the deviation of normals "
        f"(MAD) {html.number(goal['mad']['ratio'])}, where it reaches "
        f"{html.number(goal['mad']['published'])}."
    )
    sections = [
        ("depth", "Depth", _depth(metrics)),
        ("pose", "View and light", _pose(metrics)),
        ("heads", "Heads", _heads(results)),
        ("record", "Settings, versions, time", record(metrics)),
    ]
    return page(TITLE, lead, sections)


def _shown_rows(results: SyntheticResults) -> list[str]:
    return [name for name in _ROWS if name in results.depths]


def _with_deviation(row: dict, key: str) -> str:
    if key not in row:
        return html.DASH
    return f"{html.number(row[key])} ± {html.number(row[f'{key}_sd'])}"


def _depth(metrics: dict) -> str:
    taken = metrics["steps_taken"]
    rows = []
    for name, words in NAMES.items():
        row, published = metrics["depth"].get(name, {}), metrics["published"].get(name, {})
        rows.append(
            (
                words,
                html.number(taken[name]) if name in taken else html.DASH,
                _with_deviation(row, "side_x100"),
                _with_deviation(row, "mad_degrees"),
                html.percent(row.get("covered")),
                html.number(published.get("side_x100")),
                html.number(published.get("mad_degrees"), 4),
            )
        )
    head = (
        "",
        "steps",
        "SIDE × 100",
        "MAD, degrees",
        "pixels",
        "SIDE × 100, paper",
        "MAD, paper",
    )
    words = (
        "<p>SIDE is the standard deviation of the logarithm of estimated over true depth, MAD the "
        "mean angle between normals, both in the picture’s view over the head’s pixels less a "
        "border of one; mean ± standard deviation over the heads. The last two columns are Table "
        "2 of Unsup3D (arXiv 1911.11130) on the Basel Face Model: other heads, so that only "
        "ratios within a column compare. The two last rows show what a canonical depth map can "
        "reach: what a head seen from the front hides or turns aside is not in such a map.</p>"
    )
    return words + html.table(head, rows, "right headline")


def _pose(metrics: dict) -> str:
    rows = []
    for name, (words, unit) in _QUANTITIES.items():
        fit = metrics["pose_and_light"][name]
        rows.append(
            (
                words,
                html.with_unit(fit["error"], unit),
                html.with_unit(fit["chance"], unit),
                html.number(fit.get("correlation")),
                html.number(fit.get("slope")),
            )
        )
    words = (
        "<p>Mean absolute error after the best affine map from estimate to truth, the error of an "
        "estimate that knows nothing, the correlation, and that map’s slope.</p>"
    )
    return words + html.table(("", "error", "by chance", "correlation", "slope"), rows, "right")


def _heads(results: SyntheticResults) -> str:
    names = ", ".join(_ROWS[name] for name in _shown_rows(results))
    words = (
        f"<p>From above: the picture; then depth (near white) and relief, each of: {names}. "
        "The pixels outside the true head are black.</p>"
    )
    cells = (1 + 2 * len(_shown_rows(results)), len(results.images))
    sheet = html.picture(results_sheet(results), "Heads with true and estimated depth", cells=cells)
    return words + html.scroll(sheet)
