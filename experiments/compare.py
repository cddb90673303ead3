"""Which method finds the better directions? One protocol for all, on one generator.

    python -m experiments.compare

Ours (local and environment), least-squares regression, SeFa, GANSpace, LowRankGAN, plain PCA and
ICA of the mean Jacobian, and random directions as the floor: each edit changes the pictures equally
much. Writes ``metrics.json``, ``directions.npz`` and ``report.html``.
"""

import dataclasses
import pathlib

import jax
import numpy as np

from experiments import compare_measures, identity, landmarks, run_record
from experiments.compare_methods import REGIONS, WITH_TARGETS, Sources, find_all
from experiments.compare_report import render_report
from experiments.compare_results import COLUMNS, CompareResults, summarise, winners
from experiments.localized_options import load_pair
from experiments.localized_stages import Track, strip_images
from experiments.option_checks import at_most, check_numbers
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.loading import resolve
from facesem_jax.semantics.semantic_function import environment_semantics, local_semantics

FILES = ("metrics.json", "directions.npz", "report.html")
_SPREAD_FACES = 1024


@dataclasses.dataclass(frozen=True)
class Options:
    """Compares methods that find directions of W.

    Attributes:
      generator: A bundled name ("digiface64"), or a directory with a converted generator.
      decomposer: A bundled name, or a directory with a converted decomposer.
      crop: From the generator's image to the decomposer's, as for `experiments.localized`.
      directions: Leading directions of every method.
      components: Components of our factorisation.
      faces: Faces that are edited.
      jacobian_samples: Faces whose Jacobians are averaged.
      region_samples: Faces whose pictures' Jacobians LowRankGAN takes.
      samples: Faces of regression and GANSpace.
      change: Root mean square change of the pictures that every edit makes, of a range of 2.
      observers: Whether MediaPipe and dlib look as well, where they are installed.
      seed: Seeds every random choice.
      output: Directory for the results; earlier results there are replaced.
      quick: A run of under 2 minutes: fewer of everything.
    """

    generator: str = "digiface64"
    decomposer: str = "digiface64"
    crop: str | None = None
    directions: int = 16
    components: int = 32
    faces: int = 32
    jacobian_samples: int = 64
    region_samples: int = 16
    samples: int = 4096
    change: float = 0.1
    observers: bool = True
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/compare")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number that is out of range.
        """
        least = {
            "directions": 1,
            "components": 1,
            "faces": 2,
            "jacobian_samples": 1,
            "region_samples": 1,
            "samples": 64,
        }
        check_numbers(self, least)
        if not 0 < self.change < 2:
            raise FacesemError(f"change is {self.change}; expected between 0 and 2.")
        if not self.quick:
            return self
        return at_most(
            self, directions=4, faces=4, jacobian_samples=8, region_samples=2, samples=512
        )


def observers(wanted: bool) -> tuple[list[compare_measures.Observer], dict[str, str]]:
    """Independent models that are installed, and what to install for the others' columns."""
    found, absent = [], {}
    measures = ("yaw", "pitch", "mouth_opening", "eye_opening", "brow_height")
    if landmarks.installed() and wanted:

        def by_landmarks(images):
            values = landmarks.landmark_measurements(np.clip(images, -1, 1))
            return {name: values[name] for name in measures}

        found.append(by_landmarks)
    else:
        absent |= dict.fromkeys(measures, "python -m pip install mediapipe==0.10.14")
    if not (identity.available() and wanted):
        absent["identity"] = identity.INSTALL
    return found, absent


def identity_change(base, images) -> np.ndarray:
    """Distance of embeddings before and after the edit upwards: (k, n).

    One side only: the network takes longer than everything else together.
    """
    before = identity.face_embeddings(np.clip(base, -1, 1))
    upwards = images[0]
    flat = np.clip(upwards, -1, 1).reshape(-1, *upwards.shape[2:])
    after = identity.face_embeddings(flat).reshape(*upwards.shape[:2], -1)
    return np.linalg.norm(after - before, axis=-1)


def run(options: Options, track: Track) -> tuple[CompareResults, dict]:
    """The whole job.

    Args:
      options: Checked options.
      track: Progress.

    Returns:
      The results, and the arrays of ``directions.npz``.
    """
    watch = run_record.Stopwatch()
    generator, decomposer, crop = load_pair(options.generator, options.decomposer, options.crop)
    size = decomposer.config.image_size
    local = local_semantics(generator, decomposer, crop, size=size)
    environment = environment_semantics(generator, decomposer, crop, size=size)
    sizes = (options.samples, options.jacobian_samples, options.region_samples, options.faces)
    z = jax.random.normal(jax.random.key(options.seed), (sum(sizes), generator.config.z_dim))
    parts = np.split(np.asarray(z), np.cumsum(sizes)[:-1])
    mapping = jax.jit(lambda generator, z: generator.mapping(z))
    jacobian_w, region_w, faces = (np.asarray(mapping(generator, p)) for p in parts[1:])
    watch.lap("load")

    sources = Sources(generator, local, environment, parts[0], jacobian_w, region_w)
    survey = find_all(sources, options.directions, options.components, options.seed, track)
    watch.lap("methods")
    spreads = np.std(survey.ys[:_SPREAD_FACES], axis=0)
    looking, absent = observers(options.observers)
    measured = {
        name: compare_measures.measure(
            local,
            environment,
            survey.scale,
            spreads,
            faces,
            own.directions.vectors,
            options.change,
            looking,
            identity_change if "identity" not in absent else None,
            track,
            name,
        )
        for name, own in survey.found.items()
    }
    watch.lap("measures")
    rows = summarise(survey.found, measured, survey.J, survey.ws, options.seed)
    shown = faces[: min(3, len(faces))]
    strips = {region: {} for region in REGIONS[:4]}
    for name, own in survey.found.items():
        m = measured[name]
        for region in strips:
            k = int(np.argmax([shares[region] for shares in m.shares]))
            amounts = np.array([[-2.0, 0.0, 2.0]]) * m.steps[k]
            vector = own.directions.vectors[k : k + 1]
            images = strip_images(environment, shown, vector, amounts, track, "strips")
            strips[region][name] = (own.directions.names[k], images[0])
    watch.lap("strips")

    metrics = {
        **run_record.header(options, watch),
        "generator_digest": checkpoint_digest(resolve(options.generator, "generator")),
        "change": options.change,
        "area": compare_measures.AREA,
        "methods": rows,
        "winners": winners(rows, set(rows) - {n for n in rows if _has_targets(n)}),
        "absent": absent,
        "left_out": survey.left_out,
    }
    arrays = {}
    for name, own in survey.found.items():
        arrays |= {
            f"{name}/vectors": own.directions.vectors.astype(np.float32),
            f"{name}/names": np.array(own.directions.names),
            f"{name}/scores": own.directions.scores,
            f"{name}/steps": measured[name].steps,
        }
    return CompareResults(run_record.finite_tree(metrics), strips, absent), arrays


def _has_targets(name: str) -> bool:
    return name.split(" (")[0] in WITH_TARGETS


def main(options: Options) -> None:
    """Runs the job and writes its files, all or none."""
    options = options.checked()
    with OutputDirectory(options.output, FILES) as output, progress_track() as track:
        results, arrays = run(options, track)
        run_record.write_results(
            output, results.metrics, render_report(results), "directions.npz", arrays
        )
    for key, entry in results.metrics["winners"].items():
        tied = f" (not to be told from {', '.join(entry['tied'])})" if entry["tied"] else ""
        print(f"{COLUMNS[key].title}: {entry['best']}{tied}")
    print(f"page: {options.output / 'report.html'}")


if __name__ == "__main__":
    run_command(main, Options)
