"""Pose and light of a face generator: directions, what they cost, what edits along them do.

    python -m experiments.environment

Directions by regression on growing numbers of faces and by exact gradients; how linear the
semantics are along a long edit; what an edit leaks into, plain and decorrelated. Writes
``environment.npz``, ``metrics.json`` and ``report.html``.
"""

import dataclasses
import pathlib
import time

import jax.numpy as jnp
import numpy as np

from experiments import environment_stages as stages
from experiments import run_record
from experiments.environment_report import render_report
from experiments.environment_results import EnvironmentResults
from experiments.localized_options import load_pair
from experiments.localized_results import Strip
from experiments.localized_stages import ANGLES, Track, in_batches, latents, strip_images
from experiments.option_checks import at_most, check_numbers, check_truncation
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.command_line import run_command
from facesem_jax.loading import resolve
from facesem_jax.semantics.edits import decorrelated_steps, unit_step
from facesem_jax.semantics.environment import (
    r_squared,
    ridge_regression,
)
from facesem_jax.semantics.semantic_function import ENVIRONMENT_UNITS, environment_semantics

FILES = ("environment.npz", "metrics.json", "report.html")
_STRIP_ANGLE = 30.0


@dataclasses.dataclass(frozen=True)
class Options:
    """Finds the directions of pose and light, and measures them.

    Attributes:
      generator: A bundled name ("digiface64"), or a directory with a converted generator.
      decomposer: A bundled name, or a directory with a converted decomposer.
      crop: From the generator's image to the decomposer's, as for `experiments.localized`.
      samples: Faces for the largest regression; smaller ones take parts of them.
      exact_samples: Faces whose exact gradients are averaged.
      heldout: Faces that score the directions.
      edited: Faces that are edited.
      points: Amounts of an edit on either side of 0.
      strip_faces: Faces per strip.
      truncation_psi: Truncation of w, 1 for none (a pure number).
      seed: Seeds every random choice.
      output: Directory for the results; earlier results there are replaced.
      quick: A run of under 2 minutes: fewer faces everywhere.
    """

    generator: str = "digiface64"
    decomposer: str = "digiface64"
    crop: str | None = None
    samples: int = 100_000
    exact_samples: int = 512
    heldout: int = 4096
    edited: int = 128
    points: int = 6
    strip_faces: int = 4
    truncation_psi: float = 1.0
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/environment")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number that is out of range.
        """
        least = {
            "samples": 100,
            "exact_samples": 1,
            "heldout": 64,
            "edited": 2,
            "points": 1,
            "strip_faces": 1,
        }
        check_numbers(self, least)
        check_truncation(self.truncation_psi)
        if not self.quick:
            return self
        return at_most(self, samples=3162, exact_samples=32, heldout=1024, edited=16, strip_faces=2)


def run(options: Options, track: Track) -> tuple[EnvironmentResults, dict]:
    """The whole job.

    Args:
      options: Checked options.
      track: Progress.

    Returns:
      The results, and the arrays of ``environment.npz``.
    """
    watch = run_record.Stopwatch()
    generator, decomposer, crop = load_pair(options.generator, options.decomposer, options.crop)
    f = environment_semantics(generator, decomposer, crop, size=decomposer.config.image_size)
    sizes = {
        "regression": options.samples,
        "exact": options.exact_samples,
        "heldout": options.heldout,
        "edited": options.edited,
        "faces": options.strip_faces,
    }
    w = latents(generator, sizes, options.seed, options.truncation_psi)
    watch.lap("load")

    heldout = w["heldout"], in_batches(f, w["heldout"], track, "held-out faces")
    begin = time.perf_counter()
    ys = in_batches(f, w["regression"], track, "pose and light of faces")
    forward_seconds = (time.perf_counter() - begin) / len(ys)
    watch.lap("decomposition")
    exact = stages.exact_stage(f, w["exact"], heldout, track)
    watch.lap("exact gradients")
    curve = stages.curve_stage(w["regression"], ys, exact.v, heldout, track)
    v, intercept = (
        np.asarray(x) for x in ridge_regression(jnp.asarray(w["regression"]), jnp.asarray(ys))
    )
    watch.lap("regressions")

    spreads = np.std(ys, axis=0)
    steps = {
        "plain": np.asarray(unit_step(jnp.asarray(v))),
        "decorrelated": np.asarray(decorrelated_steps(jnp.asarray(v), f.names)),
    }
    edits = {
        name: stages.edits_stage(
            f, step, spreads, w["edited"], options.points, track, f"{name} edits"
        )
        for name, step in steps.items()
    }
    watch.lap("edits")
    limits = np.where([n in ANGLES for n in f.names], _STRIP_ANGLE, 2 * spreads)
    shown = np.linspace(-1, 1, 7) * limits[:, None]
    strips = {
        name: [Strip(n, ENVIRONMENT_UNITS[n], shown[k], images[k]) for k, n in enumerate(f.names)]
        for name, images in (
            (name, strip_images(f, w["faces"], step, shown, track, f"{name} strips"))
            for name, step in steps.items()
        )
    }
    watch.lap("strips")

    r2 = np.asarray(r_squared(v, intercept, *heldout))
    rows = stages.efficiency(curve, exact, f.names, forward_seconds)
    for k, name in enumerate(f.names):
        rows[name] |= {"unit": ENVIRONMENT_UNITS[name], "spread": float(spreads[k])}
        rows[name] |= {"r2": float(r2[k])}
        for kind, found in edits.items():
            one = found.responses[k]
            rows[name][kind] = {
                "gain": one.gain,
                "nonlinearity": run_record.finite(one.nonlinearity),
                "linear_to": one.linear_to,
                "leaks": float(np.delete(np.abs(found.leakage.mean[k]), k).max()),
            }
    metrics = {
        **run_record.header(options, watch),
        "generator_digest": checkpoint_digest(resolve(options.generator, "generator")),
        "forward_seconds": forward_seconds,
        "gradient_seconds": exact.seconds,
        "semantics": rows,
    }
    arrays = {
        "names": np.array(f.names),
        "v_regression": v,
        "intercept": intercept,
        "v_exact": exact.v,
        "spreads": spreads,
        "counts": curve.counts,
        "cosine": curve.cosine,
        "score": curve.score,
        "score_spread": curve.score_spread,
        "exact_counts": np.array(exact.counts),
        "exact_score": exact.score,
    }
    for kind, found in edits.items():
        arrays |= {
            f"{kind}/steps": found.steps,
            f"{kind}/amounts": found.amounts,
            f"{kind}/response": np.stack([r.mean for r in found.responses]),
            f"{kind}/response_spread": np.stack([r.spread for r in found.responses]),
            f"{kind}/leakage": found.leakage.mean,
            f"{kind}/leakage_absolute": found.leakage.absolute,
        }
    return EnvironmentResults(metrics, f.names, curve, exact, edits, strips), arrays


def main(options: Options) -> None:
    """Runs the job and writes its files, all or none."""
    options = options.checked()
    with OutputDirectory(options.output, FILES) as output, progress_track() as track:
        results, arrays = run(options, track)
        run_record.write_results(
            output, results.metrics, render_report(results), "environment.npz", arrays
        )
    for name, row in results.metrics["semantics"].items():
        needed = row["samples_needed"]
        print(
            f"{name}: R^2 {row['r2']:.3f}, cosine {row['cosine']:.3f}, as good as the exact "
            + ("never" if needed is None else f"from {needed:.0f} faces")
            + f", gain {row['plain']['gain']:.2f}, largest leak {row['plain']['leaks']:.2f} "
            f"({row['decorrelated']['leaks']:.2f} decorrelated)"
        )
    print(f"page: {options.output / 'report.html'}")


if __name__ == "__main__":
    run_command(main, Options)
