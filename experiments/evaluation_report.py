"""How an evaluation is shown: tables for the terminal, a sheet of the worst faces."""

import pathlib

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from facesem_jax.decomposer.camera import Intrinsics
from facesem_jax.decomposer.shading import normals_from_depth
from facesem_jax.viz.pictures import grid, relief_picture, rgb

_ENLARGE = 2
_CAPTION = 28
_AGREEMENT = ("n", "r", "rank r", "slope", "offset", "spread", "reference")


def print_report(report: dict, console: Console) -> None:
    """Prints what `experiments.evaluate_pair` found.

    Args:
      report: The result of its `evaluate`, perhaps with that of its `cross_check`, and with
        "decomposer" and "source" added.
      console: Where to.
    """
    console.print(f"{report['decomposer']} on {report['faces']} faces of {report['source']}")
    print_pose_agreement(report, "decomposer against landmarks", "|yaw| of landmarks", console)
    table = Table("|yaw| of landmarks", "n", "r", "gain")
    for band in report["yaw_bands"]:
        numbers = (f"{band[k]:.3f}" for k in ("correlation", "gain"))
        table.add_row(_range(band), str(band["count"]), *numbers)
    console.print(table)
    if "reconstruction" in report:
        found = report["reconstruction"]
        console.print(
            f"reconstruction off by {found['error']:.3f} of a range of 2, over the "
            f"{found['covered']:.0%} of the pixels that it covers"
        )
    if "pictures" in report:
        p = report["pictures"]
        for name, rows in (
            ("landmarks on the canonical image against the input", p["canonical"]),
            ("landmarks on the reconstruction against the input", p["reconstruction"]),
            ("landmarks on the reconstruction against the decomposer", p["drawn"]),
        ):
            _print_agreement(console, name, rows)
    if "mirror_consistency" in report:
        _print_mirror(console, **report["mirror_consistency"])
    table = Table(f"linear in {report['linear_r2']['latent']}", "held-out R²")
    for name, r2 in report["linear_r2"]["values"].items():
        table.add_row(name.replace("_", " "), f"{r2:.3f}")
    console.print(table)
    depth = report["depth"]
    x, y = depth["nearest_mean"]
    console.print(f"faces found by the landmark model: {report['found']:.1%}")
    console.print(
        f"convex depth: {depth['convex']:.1%}; nearest point in the central third: "
        f"{depth['nearest_central']:.1%}, on average at ({x:.2f}, {y:.2f}) of the frame; "
        f"mean range of depth: {depth['range']:.3f}",
        soft_wrap=True,
    )


def print_pose_agreement(report: dict, title: str, reference: str, console: Console) -> None:
    """Prints what `experiments.agreement.pose_agreement` found.

    Args:
      report: Its result, perhaps with more.
      title: Of the first table.
      reference: What the bands are of.
      console: Where to.
    """
    within = {f"yaw, ±{k}°": v for k, v in report["yaw_within"].items()}
    _print_agreement(console, title, report["agreement"] | within)
    between = ", ".join(f"{slope:.2f} within {k}°" for k, slope in report["yaw_between"].items())
    console.print(f"yaw, slope where both may err: {between}")
    table = Table(reference, "n", "mean", "reads as")
    for band in report["yaw_reading"]:
        degrees = (f"{band[k]:.1f}°" for k in ("reference", "reading"))
        table.add_row(_range(band), str(band["count"]), *degrees)
    console.print(table)


def _range(band: dict) -> str:
    return f"{band['low']:g}° to {band['high']:g}°"


def _print_agreement(console: Console, title: str, rows: dict[str, dict]) -> None:
    table = Table("angle", *_AGREEMENT, title=title)
    for name, a in rows.items():
        numbers = (f"{a[k]:.3f}" for k in ("correlation", "rank_correlation", "slope"))
        degrees = (f"{a[k]:.1f}°" for k in ("offset", "spread", "reference_spread"))
        table.add_row(name, str(a["count"]), *numbers, *degrees)
    console.print(table)


def _print_mirror(console: Console, decomposer: dict, landmarks: dict) -> None:
    table = Table("consistency under mirroring", "decomposer", "landmarks")
    for name in decomposer | landmarks:
        cells = (f"{d[name]:.3f}" if name in d else "" for d in (decomposer, landmarks))
        table.add_row(name.replace("_", " "), *cells)
    console.print(table)


def worst_sheet(
    path: pathlib.Path,
    images: Float[np.ndarray, "m h w 3"],
    decomposed: dict[str, np.ndarray],
    reference: Float[np.ndarray, " m"],
    camera: Intrinsics,
) -> None:
    """Writes faces with their two yaws: input, reconstruction, canonical image, relief of depth.

    Args:
      path: A PNG file.
      images: In [-1, 1].
      decomposed: Yaw (degrees), pictures and depth from `experiments.evaluate_pair.decompose`.
      reference: The landmarks' yaw in degrees.
      camera: Of the decomposer.
    """
    from PIL import Image, ImageDraw

    rows = [
        rgb(images),
        rgb(decomposed["reconstruction"]),
        rgb(decomposed["canonical"]),
        relief_picture(normals_from_depth(decomposed["depth"], camera)),
    ]
    pictures = grid(np.stack(rows)).repeat(_ENLARGE, 0).repeat(_ENLARGE, 1)
    pictures = np.pad(pictures, ((0, _CAPTION), (0, 0), (0, 0)), constant_values=255)
    sheet = Image.fromarray(pictures)
    draw = ImageDraw.Draw(sheet)
    width, top = sheet.width // len(images), sheet.height - _CAPTION
    for i, (ours, theirs) in enumerate(zip(decomposed["yaw"], reference, strict=True)):
        text = f"decomposer {ours:+.0f}\nlandmarks {theirs:+.0f}"
        draw.multiline_text((i * width + 4, top + 1), text, fill=(0, 0, 0), spacing=1)
    sheet.save(path, format="PNG")
