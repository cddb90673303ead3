"""How the landmark model's angles follow the truth, on synthetic heads whose truth is known.

    python -m experiments.landmark_accuracy

Decomposers are judged by MediaPipe's landmarks (`experiments.evaluate_pair`); this judges the
landmarks. Prints a table and writes ``accuracy.json``.
"""

import dataclasses
import pathlib

import numpy as np
from rich.console import Console

from experiments.agreement import pose_agreement
from experiments.evaluation_report import print_pose_agreement
from experiments.landmarks import Angles, check_installed, landmark_measurements
from experiments.option_checks import check_numbers
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from experiments.run_record import write_json
from experiments.synthetic_sets import HeadSet, draw_set
from facesem_jax.command_line import run_command
from facesem_jax.heads import HeadSampling

FILES = ("accuracy.json",)
#: Nearly as many heads far out as near the front.
SAMPLING = HeadSampling(angles=(10.0, 90.0, 5.0), angle_limits=(25.0, 50.0, 12.0))
#: Edges of the bands of true yaw, degrees.
_EDGES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0)
#: With fewer heads the bands say nothing.
_LEAST = 50


@dataclasses.dataclass(frozen=True)
class Options:
    """Measures the landmark model on synthetic heads.

    Attributes:
      heads: How many, turned by up to 50 degrees.
      seed: Of everything random.
      output: Directory for the results; earlier results there are replaced.
    """

    heads: int = 1000
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/landmark_accuracy")


def accuracy(measured: dict[str, np.ndarray], heads: HeadSet) -> dict:
    """Compares measured angles with the truth.

    Args:
      measured: From `landmark_measurements` of the heads' pictures.
      heads: The heads.

    Returns:
      A tree of plain numbers; angles in degrees.
    """
    truth = dict(zip(Angles._fields, np.degrees(heads.view[:, :3]).T, strict=True))
    return {
        "heads": len(heads),
        "found": float(np.mean(measured["found"])),
        **pose_agreement(measured, truth, _EDGES),
    }


def main(options: Options) -> None:
    """Draws, measures, prints and writes.

    Raises:
      FacesemError: On bad options, or without mediapipe.
    """
    check_numbers(options, {"heads": _LEAST})
    check_installed()
    with OutputDirectory(options.output, FILES) as output, progress_track() as track:
        heads = draw_set(options.seed, options.heads, track, sampling=SAMPLING)
        report = {"seed": options.seed, **accuracy(landmark_measurements(heads.images()), heads)}
        write_json(output / FILES[0], report)
    console = Console()
    console.print(f"{report['heads']} heads, a face found in {report['found']:.1%}")
    print_pose_agreement(report, "landmarks against the truth", "true |yaw|", console)


if __name__ == "__main__":
    run_command(main, Options)
