"""The page that shows what `experiments.photos` found: one self-contained HTML file."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from experiments import report_html as html
from experiments.photo_table import Photograph
from experiments.report_page import page, record
from facesem_jax.viz.pictures import enlarge, grid, rgb

TITLE = "Photographs: aligned, inverted, edited"


@dataclasses.dataclass(frozen=True)
class PhotoResult:
    """One photograph.

    Attributes:
      photograph: Where it comes from.
      image: The aligned face in [-1, 1].
      faces: The generator's: by the encoder, in W, in W+.
      views: By edit: less, none, more, around the face.
      numbers: As in ``metrics.json``.
    """

    photograph: Photograph
    image: Float[np.ndarray, "h w 3"]
    faces: Float[np.ndarray, "3 h w 3"]
    views: dict[str, UInt8[np.ndarray, "3 s s 3"]]
    numbers: Mapping

    @property
    def inversion_row(self) -> UInt8[np.ndarray, "1 4 H W 3"]:
        """The aligned face, then the generator's three."""
        row = rgb(np.concatenate([self.image[None], self.faces]))
        return enlarge(row, max(1, 192 // row.shape[1]), False)[None]

    @property
    def edit_sheet(self) -> UInt8[np.ndarray, "e 3 s s 3"]:
        """A row per edit."""
        return np.stack(list(self.views.values()))


def render_report(metrics: Mapping, results: Sequence[PhotoResult]) -> str:
    """The page.

    Args:
      metrics: The contents of ``metrics.json``.
      results: The photographs.

    Returns:
      HTML; every text is escaped.
    """
    sections = [("numbers", "Numbers", _numbers(results))]
    sections += [(r.photograph.name, r.photograph.name, _photo(r, metrics)) for r in results]
    sections += [
        ("sources", "Sources and licences", _sources(results)),
        ("record", "Settings, versions, time", record(metrics)),
    ]
    gains = [r.numbers["w_plus"]["psnr"] - r.numbers["encoder"]["psnr"] for r in results]
    lead = (
        f"{len(results)} photographs; the bundled generator never saw one. From the encoder’s "
        f"guess to the end of W+ the PSNR rises by {html.number(np.median(gains))} dB (median). "
        "A generator of 64x64 rendered faces gives no likeness; edits therefore add its "
        "change to the photograph, which keeps its own detail."
    )
    return page(TITLE, lead, sections)


def _numbers(results) -> str:
    head = ("photo", "encoder, dB", "W, dB", "steps", "s", "W+, dB", "steps", "s", "distance of w")
    rows = []
    for r in results:
        n = r.numbers
        spaces = [
            html.number(n[space][key], 3)
            for space in ("w", "w_plus")
            for key in ("psnr", "steps", "seconds")
        ]
        first = (html.text(r.photograph.name), html.number(n["encoder"]["psnr"]))
        rows.append((*first, *spaces, html.number(n["w"]["mahalanobis"])))
    note = (
        '<p class="note">PSNR of the aligned face against the generator’s. Distance: squared '
        "Mahalanobis distance of w over its size, about 1 for the generator’s own faces. W+ "
        "goes on from W.</p>"
    )
    return html.table(head, rows, "right") + note


def _photo(result: PhotoResult, metrics: Mapping) -> str:
    row = result.inversion_row
    parts = [
        html.picture(grid(row), "aligned face, encoder, W, W+", cells=(1, 4)),
        '<p class="note">Aligned; the encoder’s guess; W; W+.</p>',
    ]
    for name, views in result.views.items():
        amount = html.number(metrics["edits"][name])
        share = html.percent(result.numbers["changed_share"][name])
        parts.append(f"<h3>{html.text(name)}, −{amount}, 0, +{amount}</h3>")
        parts.append(html.picture(grid(views[None]), f"{name}: less, none, more", cells=(1, 3)))
        parts.append(f'<p class="note">{share} of the photo’s pixels change.</p>')
    return "".join(parts)


def _sources(results) -> str:
    rows = [
        (
            html.text(p.name),
            html.text(f"{p.package} {p.version}"),
            html.text(p.path),
            html.text(p.licence),
            html.text(p.credit),
        )
        for p in (r.photograph for r in results)
    ]
    return html.table(("photo", "package", "file", "licence", "credit"), rows)
