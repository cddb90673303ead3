"""Evaluates a decomposer, and a generator's W, against an independent landmark model.

    python -m experiments.evaluate_pair --generator digiface64 --decomposer digiface64

Needs mediapipe (see `experiments.landmarks`). Writes ``evaluation.json`` and ``worst_yaw.png``.
"""

import dataclasses
import pathlib
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Console

from experiments.agreement import (
    LIMITS,
    agreement,
    angle_agreement,
    bands,
    pose_agreement,
    worst_ranked,
)
from experiments.evaluation_report import print_report, worst_sheet
from experiments.face_measures import (
    convex_depth,
    in_central_third,
    luminance_measurements,
    nearest_points,
)
from experiments.face_sources import FaceSet, face_set, generator_source, stream_source
from experiments.landmarks import Angles, check_installed, landmark_measurements
from experiments.output_directory import OutputDirectory
from experiments.run_record import write_json
from experiments.training_snapshot import snapshot_decomposer
from facesem_jax import load_decomposer
from facesem_jax.checks import check_seed
from facesem_jax.command_line import run_command
from facesem_jax.decomposer import Decomposer
from facesem_jax.errors import FacesemError
from facesem_jax.metrics import linear_predictability
from facesem_jax.training.decomposer_loss import MIRROR_LIGHT, MIRROR_VIEW

FILES = ("evaluation.json", "worst_yaw.png")
_BATCH = 50
#: Far from the seeds of any training.
_SEED_OFFSET = 1000
_ANGLES = Angles._fields
_LIGHTS = ("ambient", "diffuse", "light_x", "light_y")
#: Edges of the bands in which a landmark yaw is said to be read as so much.
_READ = tuple(range(0, 70, 10))
#: Factor of a left-right mirror on each measurement.
_MIRROR = {
    **dict(zip(_ANGLES, MIRROR_VIEW, strict=False)),
    **dict(zip(_LIGHTS, MIRROR_LIGHT, strict=True)),
    "mouth_opening": 1.0,
}
#: Fewest faces with landmarks that statistics are made of.
_LEAST_FOUND = 20
#: Faces in the sheet of the worst.
_WORST = 12


@dataclasses.dataclass(frozen=True)
class Options:
    """Evaluates a decomposer, and a generator's W, against an independent landmark model.

    Attributes:
      generator: Bundled name or directory; not used with ``--source stream``.
      decomposer: Bundled name or directory.
      decomposer_run: Directory of a training run (it may be going on), whose last checkpoint is
        evaluated in place of ``decomposer``, with its depth released wholly, as it would ship.
      faces: Faces to evaluate; the R^2 need several times as many as the latent is long.
      source: Whether to draw them from the generator or from the face stream.
      seed: Seeds the faces; disjoint from the seeds of training.
      cross_checks: Whether to measure mirrored faces (how reliable are both measurements?) and the
        decomposer's own pictures (is the canonical face frontal, is the rendered one turned?) as
        well; takes four times as long.
      output: Where the results go.
    """

    generator: str = "digiface64"
    decomposer: str = "digiface64"
    decomposer_run: pathlib.Path | None = None
    faces: int = 2000
    source: Literal["generator", "stream"] = "generator"
    seed: int = 0
    cross_checks: bool = True
    output: pathlib.Path = pathlib.Path("outputs/evaluation")


def decompose(
    decomposer: Decomposer, images: Float[np.ndarray, "n h w 3"]
) -> dict[str, np.ndarray]:
    """The decomposer's measurements and pictures.

    Args:
      decomposer: The networks.
      images: In [-1, 1].

    Returns:
      Arrays by name: pitch, yaw, roll in degrees; ambient, diffuse, light_x, light_y as in
      `Decomposition.light`; depth (n, h, w) in scene units; canonical and reconstruction
      (n, h, w, 3) in [-1, 1]; covered (n, h, w), the pixels that the reconstruction shows.
    """

    @jax.jit
    def run(x):
        parts = decomposer(x)
        drawn, covered = decomposer.render(parts)
        return {
            "angles": jnp.degrees(parts.view[:, :3]),
            "light": parts.light,
            "depth": parts.depth,
            "canonical": jnp.clip(decomposer.canonical_image(parts), -1, 1),
            "reconstruction": jnp.clip(drawn, -1, 1),
            "covered": covered,
        }

    pieces = []
    for start in range(0, len(images), _BATCH):
        piece = images[start : start + _BATCH]
        padded = np.pad(piece, ((0, _BATCH - len(piece)), (0, 0), (0, 0), (0, 0)))
        pieces.append({k: np.asarray(v)[: len(piece)] for k, v in run(padded).items()})
    whole = {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}
    angles, light = whole.pop("angles"), whole.pop("light")
    return (
        dict(zip(_ANGLES, angles.T, strict=True)) | dict(zip(_LIGHTS, light.T, strict=True)) | whole
    )


def evaluate(
    faces: FaceSet, decomposed: dict[str, np.ndarray], landmarks: dict[str, np.ndarray]
) -> dict:
    """The numbers, from finished measurements.

    Args:
      faces: The faces.
      decomposed: From `decompose`.
      landmarks: From `landmark_measurements`.

    Returns:
      A tree of plain numbers; angles in degrees.

    Raises:
      FacesemError: If the landmark model found next to no face.
    """
    found = int(np.sum(landmarks["found"]))
    if found < _LEAST_FOUND:
        raise FacesemError(
            f"The landmark model found a face in {found} of {len(faces.images)} images; an "
            f"evaluation needs at least {_LEAST_FOUND}. Do the images show faces?"
        )
    yaw = decomposed["yaw"], landmarks["yaw"]
    nearest = nearest_points(decomposed["depth"])
    targets = {f"landmark_{k}": landmarks[k] for k in (*_ANGLES, "mouth_opening")}
    targets |= luminance_measurements(faces.images)
    targets |= {f"decomposer_{k}": decomposed[k] for k in (*_ANGLES, *_LIGHTS)}
    return {
        "faces": len(faces.images),
        "found": found / len(faces.images),
        **pose_agreement(decomposed, landmarks, _READ),
        "yaw_bands": [band._asdict() for band in bands(*yaw, (0.0, *LIMITS))],
        "linear_r2": {
            "latent": faces.latent_name,
            "values": {
                name: found.mean
                for name, found in linear_predictability(faces.latents, targets).items()
            },
        },
        "depth": {
            "convex": float(np.mean(convex_depth(decomposed["depth"]))),
            "nearest_central": float(np.mean(in_central_third(nearest))),
            "nearest_mean": nearest.mean(0).tolist(),
            "range": float(np.mean(np.ptp(decomposed["depth"], axis=(1, 2)))),
        },
    }


def picture_error(
    images: Float[np.ndarray, "n h w 3"], decomposed: dict[str, np.ndarray]
) -> dict[str, float]:
    """How far a decomposer's own drawing of faces is from them.

    Args:
      images: In [-1, 1].
      decomposed: From `decompose`.

    Returns:
      ``error``, the mean absolute difference over the pixels that the drawing covers, of a range of
      2; ``covered``, their share; and ``whole``, the difference over all pixels, where those that
      are not covered are grey.
    """
    difference = np.abs(decomposed["reconstruction"] - images).mean(axis=-1)
    covered = decomposed["covered"]
    return {
        "error": float(difference[covered].mean()),
        "covered": float(covered.mean()),
        "whole": float(difference.mean()),
    }


def mirror_consistency(
    straight: dict[str, np.ndarray], mirrored: dict[str, np.ndarray]
) -> dict[str, float]:
    """Correlation of each measurement with itself on the mirrored face, signs put right.

    1 is a noiseless instrument. The square root of the landmarks' value bounds the correlation that
    a perfect decomposer could reach, if the landmarks' errors on the two faces are independent.

    Args:
      straight: Measurements by name.
      mirrored: The same on mirrored faces.

    Returns:
      Correlations by name, of every measurement that has a mirror rule.
    """
    return {
        name: agreement(sign * mirrored[name], straight[name]).correlation
        for name, sign in _MIRROR.items()
        if name in straight
    }


def cross_check(
    decomposer: Decomposer,
    faces: FaceSet,
    decomposed: dict[str, np.ndarray],
    landmarks: dict[str, np.ndarray],
) -> dict:
    """Measures mirrored faces and the decomposer's own pictures.

    Args:
      decomposer: The networks.
      faces: The faces.
      decomposed: From `decompose`.
      landmarks: From `landmark_measurements`.

    Returns:
      ``mirror_consistency`` of both measurements; ``pictures``, how the landmarks' angles on the
      canonical image and on the reconstruction follow those on the input (slope 0 is wanted of the
      canonical image, 1 of the reconstruction), and ``drawn``: how those on the reconstruction
      follow the decomposer's angles (slope 1 where its degrees are the landmarks').
    """
    mirrored = faces.images[:, :, ::-1]
    canonical = landmark_measurements(decomposed["canonical"])
    rebuilt = landmark_measurements(decomposed["reconstruction"])
    return {
        "mirror_consistency": {
            "decomposer": mirror_consistency(decomposed, decompose(decomposer, mirrored)),
            "landmarks": mirror_consistency(landmarks, landmark_measurements(mirrored)),
        },
        "pictures": {
            "canonical": angle_agreement(canonical, landmarks),
            "reconstruction": angle_agreement(rebuilt, landmarks),
            "drawn": angle_agreement(rebuilt, decomposed),
        },
    }


def main(options: Options) -> None:
    """Evaluates, prints and writes.

    Raises:
      FacesemError: On bad options or a model that is not there.
    """
    if options.faces < _BATCH:
        raise FacesemError(f"faces is {options.faces}; use at least {_BATCH}.")
    check_seed(options.seed)
    check_installed()
    with OutputDirectory(options.output, FILES) as output:
        _run(options, output)


def _run(options: Options, output: pathlib.Path) -> None:
    decomposer, name = _decomposer(options)
    seed, size = _SEED_OFFSET + options.seed, decomposer.config.image_size
    if options.source == "stream":
        faces, source = face_set(stream_source(seed, size), options.faces), "the face stream"
    else:
        faces = face_set(generator_source(options.generator, seed, size), options.faces)
        source = options.generator

    landmarks = landmark_measurements(faces.images)
    decomposed = decompose(decomposer, faces.images)
    report = {"decomposer": name, "source": source, "seed": options.seed}
    report |= evaluate(faces, decomposed, landmarks)
    report["reconstruction"] = picture_error(faces.images, decomposed)
    if options.cross_checks:
        report |= cross_check(decomposer, faces, decomposed, landmarks)
    print_report(report, Console())
    worst = worst_ranked(decomposed["yaw"], landmarks["yaw"], _WORST)
    write_json(output / "evaluation.json", report)
    worst_sheet(
        output / "worst_yaw.png",
        faces.images[worst],
        {k: v[worst] for k, v in decomposed.items()},
        landmarks["yaw"][worst],
        decomposer.camera,
    )


def _decomposer(options: Options) -> tuple[Decomposer, str]:
    """The decomposer and its name."""
    if options.decomposer_run is None:
        return load_decomposer(options.decomposer), options.decomposer
    decomposer, step = snapshot_decomposer(options.decomposer_run)
    return decomposer, f"step {step} of {options.decomposer_run.name}"


if __name__ == "__main__":
    run_command(main, Options)
