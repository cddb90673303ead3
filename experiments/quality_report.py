"""The page of `experiments.generator_quality`, and its headline."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from experiments import report_html as html
from experiments.report_page import page, record
from facesem_jax.viz.sheets import sample_sheet

_COLUMNS = 10
_COVERAGE = {"precision": 1, "recall": 1, "kernel": 1000}


def headline(metrics: Mapping) -> list[str]:
    """The numbers in a few lines of text."""
    mean = metrics["patches"]["mean"]
    lines = [
        f"patches (SWD x 1000): {mean['generator']:.1f}, floor {mean['floor']:.1f}",
    ]
    if "coverage" in metrics:
        ours, floor = metrics["coverage"]["generator"], metrics["coverage"]["floor"]
        lines += [
            f"{name}: {ours[key]:.3f}, stream against stream {floor[key]:.3f}"
            for key, name in (("precision", "precision"), ("recall", "recall"))
        ]
        lines.append(
            f"kernel distance x 1000: {1000 * ours['kernel']:.2f}, "
            f"floor {1000 * floor['kernel']:.2f}"
        )
        path = metrics["path"]
        lines.append(f"path length: {path['z']['mean']:.3g} in z, {path['w']['mean']:.3g} in w")
    if "psnr" in metrics:
        lines.append(f"reconstruction: {metrics['psnr']['mean']:.2f} dB")
    for name, row in metrics["r2"].items():
        shown = [k for k in row if k.split(" ", 1)[1] in ("yaw", "pitch", "mouth_opening")]
        values = ", ".join(f"{k.replace('_', ' ')} {row[k]['mean']:.2f}" for k in shown)
        lines.append(f"R^2 from {name}: {values}")
    return lines


def render_report(metrics: Mapping, sheet: Float[np.ndarray, "s h w 3"]) -> str:
    """The whole page.

    Args:
      metrics: The contents of ``metrics.json``.
      sheet: The first generated faces, in [-1, 1].
    """
    settings = metrics["settings"]
    count, psi = settings["samples"], settings["truncation_psi"]
    lead = (
        f"{html.text(settings['generator'])}: {count} generated faces against as many of the face "
        "stream."
    )
    short = html.facts((html.text(k), html.text(v)) for k, v in _numbers(headline(metrics)))
    short += "".join(f'<p class="note">{html.text(note)}</p>' for note in metrics["notes"])
    sections = [
        ("summary", "In short", short),
        ("samples", "Uncurated samples", _samples(sheet, psi)),
        ("patches", "Patches", _patches(metrics["patches"])),
    ]
    if "coverage" in metrics:
        sections.append(("coverage", "Realism and variety", _coverage(metrics["coverage"])))
        sections.append(("paths", "Path length", _paths(metrics["path"])))
    if "psnr" in metrics:
        sections.append(("reconstruction", "Reconstruction", _psnr(metrics["psnr"])))
    sections.append(("linear", "What is linear in the latents", _linear(metrics["r2"])))
    sections.append(("run", "How this was made", record(metrics)))
    return page("Quality of a generator", lead, sections)


def _numbers(lines):
    parted = (line.partition(": ") for line in lines if not line.startswith("R^2"))
    return [(name, values) for name, _, values in parted]


def _samples(sheet, psi) -> str:
    rows = -(-len(sheet) // _COLUMNS)
    words = f"<p>The first {len(sheet)} faces of the seed, truncation {html.number(psi)}.</p>"
    shown = html.picture(
        sample_sheet(sheet, _COLUMNS), "Generated faces, none picked", cells=(rows, _COLUMNS)
    )
    return words + html.scroll(shown)


def _patches(patches: Mapping) -> str:
    words = (
        "<p>Sliced Wasserstein distance between the 7×7 patches of generated and of stream faces, "
        "level by level of a Laplacian pyramid, times 1000; 128 patches per face and level, 512 "
        "directions. The floor is what two sets of the stream’s faces have.</p>"
    )
    rows = [
        (html.text(k if k == "mean" else f"{k}×{k}"), *(html.number(row[n], 4) for n in row))
        for k, row in patches.items()
    ]
    return words + html.table(("level", "generated", "floor"), rows, "right")


def _coverage(coverage: Mapping) -> str:
    words = (
        "<p>In the embedding of dlib’s face-recognition network. Precision: share of generated "
        "faces within the third nearest neighbours’ distance of some real face. Recall: share of "
        "real faces within that of some generated one. Kernel distance (unbiased, cubic) times "
        "1000, with its standard error. The floor is two sets of the stream’s faces.</p>"
    )
    rows = []
    for key, factor in _COVERAGE.items():
        cells = []
        for row in (coverage["generator"], coverage["floor"]):
            cell = html.number(factor * row[key], 3)
            error = html.as_number(row["kernel_error"]) if key == "kernel" else None
            cells.append(cell + (f" ± {html.number(factor * error, 2)}" if error else ""))
        rows.append((html.text(key if key != "kernel" else "kernel distance"), *cells))
    return words + html.table(("", "generated", "floor"), rows, "right")


def _paths(path: Mapping) -> str:
    words = (
        "<p>Squared distance of embeddings over a step squared, along random paths: great circles "
        f"in z, straight lines in w; {path['paths']} paths, a step of "
        f"{html.number(path['epsilon'])}, the outermost 1 % at either end left out, 95 % interval. "
        "Below: other steps on a few paths, without leaving out any. Where they agree with the "
        "exact derivative the step is small enough for the path and large enough for float32.</p>"
    )
    main = html.table(
        ("", "path length", "interval"),
        [(f"in {s}", html.number(path[s]["mean"], 4), _interval(path[s])) for s in "zw"],
        "right",
    )
    head = ("step", *(html.text(f"{e:g}") for e in path["epsilons"]), "exact")
    rows = [
        (f"in {s}", *(html.number(v, 4) for v in (*path[s]["by_epsilon"], path[s]["exact"])))
        for s in "zw"
    ]
    return words + main + html.table(head, rows, "right")


def _psnr(found: Mapping) -> str:
    return (
        "<p>Faces of the stream that no training saw, encoded and drawn again: mean PSNR "
        f"{html.number(found['mean'], 4)} dB, 95 % interval {_interval(found)}.</p>"
    )


def _linear(rows: Mapping) -> str:
    words = (
        "<p>R² of a ridge regression on the last quarter of the faces, which took no part in the "
        "fit, with the 95 % interval over them. The decomposer’s reading, the picture itself, and "
        "an independent landmark model.</p>"
    )
    names = list(next(iter(rows.values())))
    head = ("", *(html.text(name.replace("_", " ")) for name in rows))
    cells = [
        (
            html.text(key.replace("_", " ")),
            *(f"{html.number(row[key]['mean'])} {_interval(row[key], 2)}" for row in rows.values()),
        )
        for key in names
    ]
    return words + html.table(head, cells, "right")


def _interval(found: Mapping, digits: int = 4) -> str:
    return f"[{html.number(found['low'], digits)}, {html.number(found['high'], digits)}]"
