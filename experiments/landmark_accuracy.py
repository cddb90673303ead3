"""How the landmark model's angles follow the truth, on synthetic heads whose truth is known.

    python -m experiments.landmark_accuracy

Decomposers are judged by MediaPipe's landmarks (`experiments.evaluate_pair`); this judges the
landmarks. Prints a table and writes ``accuracy.json``.
"""

import dataclasses
import json
import pathlib

import jax
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from experiments.agreement import agreement, bands, within
from experiments.landmarks import check_installed, landmark_measurements
from experiments.localized_stages import Track
from experiments.option_checks import check_numbers
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from experiments.run_record import finite_tree
from facesem_jax.command_line import run_command
from facesem_jax.heads import HeadSampling, draw_heads, load_heads, sample_heads

FILES = ("accuracy.json",)
#: Nearly as many heads far out as near the front.
_SAMPLING = HeadSampling(angles=(10.0, 90.0, 5.0), angle_limits=(25.0, 50.0, 12.0))
_ANGLES = ("pitch", "yaw", "roll")
_LIMITS = (15.0, 30.0, 45.0)
_EDGES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
#: Heads per call of the renderer.
_CHUNK = 50


@dataclasses.dataclass(frozen=True)
class Options:
    """Measures the landmark model on synthetic heads.

    Attributes:
      heads: How many, in fifties.
      seed: Of everything random.
      output: Directory for the results; earlier results there are replaced.
    """

    heads: int = 1000
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/landmark_accuracy")


def turned_heads(
    count: int, seed: int, track: Track
) -> tuple[Float[np.ndarray, "n h w 3"], dict[str, np.ndarray]]:
    """Pictures of heads and their true angles in degrees, yaw spread out to 50 degrees.

    Args:
      count: How many, in fifties; what is left over is not drawn.
      seed: Of everything random.
      track: Progress over calls of the renderer.
    """
    model, key, chunks = load_heads(), jax.random.key(seed), count // _CHUNK
    sample = jax.jit(lambda key: sample_heads(model, key, _CHUNK, _SAMPLING))
    pictures, views = [], []
    for chunk in track(range(chunks), "drawing heads", chunks):
        heads = sample(jax.random.fold_in(key, chunk))
        pictures.append(np.asarray(draw_heads(model, heads).image))
        views.append(np.degrees(heads.view[:, :3]))
    angles = np.concatenate(views).T
    return np.concatenate(pictures), dict(zip(_ANGLES, angles, strict=True))


def accuracy(measured: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> dict:
    """Compares angles with the truth.

    Args:
      measured: From `landmark_measurements`.
      truth: Degrees by the same names.

    Returns:
      A tree of plain numbers; angles in degrees.
    """
    yaw = measured["yaw"], truth["yaw"]
    return {
        "heads": len(truth["yaw"]),
        "found": float(np.mean(measured["found"])),
        "agreement": {k: agreement(measured[k], truth[k])._asdict() for k in _ANGLES},
        "yaw_within": {f"{limit:g}": within(*yaw, limit)._asdict() for limit in _LIMITS},
        "yaw_reading": [band._asdict() for band in bands(*yaw, _EDGES)],
    }


def main(options: Options) -> None:
    """Draws, measures, prints and writes.

    Raises:
      FacesemError: On bad options, or without mediapipe.
    """
    check_numbers(options, {"heads": _CHUNK})
    check_installed()
    with OutputDirectory(options.output, FILES) as output, progress_track() as track:
        pictures, truth = turned_heads(options.heads, options.seed, track)
        report = {"seed": options.seed, **accuracy(landmark_measurements(pictures), truth)}
        (output / FILES[0]).write_text(json.dumps(finite_tree(report), indent=2) + "\n")
    _print(report, Console())


def _print(report: dict, console: Console) -> None:
    console.print(f"{report['heads']} heads, a face found in {report['found']:.1%}")
    table = Table("angle", "n", "r", "slope on the truth", "offset")
    rows = report["agreement"] | {f"yaw, ±{k}°": v for k, v in report["yaw_within"].items()}
    for name, row in rows.items():
        numbers = f"{row['correlation']:.3f}", f"{row['slope']:.2f}", f"{row['offset']:.1f}°"
        table.add_row(name, str(row["count"]), *numbers)
    console.print(table)
    table = Table("|yaw|", "n", "true mean", "read as")
    for band in report["yaw_reading"]:
        degrees = f"{band['reference']:.1f}°", f"{band['reading']:.1f}°"
        table.add_row(f"{band['low']:g}° to {band['high']:g}°", str(band["count"]), *degrees)
    console.print(table)


if __name__ == "__main__":
    run_command(main, Options)
