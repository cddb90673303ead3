"""Does moving faces along a direction make the training data that is lacking?

    python -m pip install -e '.[pretrain]'
    python -m pip install --no-deps gan-face-generate==1.1.1
    python -m experiments.augment

A network learns to read yaw (and, once more, the light from the side) off faces that are all near
the middle. What helps it with the others: nothing, mirrored and jittered copies, faces that the
generator extrapolates along its direction, or, as the ceiling, real faces of all kinds? The faces
are the face stream's; labels come from MediaPipe's landmarks and from the picture's brightness,
which know nothing of generator and decomposer. Writes ``metrics.json``, ``augment.npz`` and
``report.html``.
"""

import dataclasses
import itertools
import pathlib

import numpy as np
from jaxtyping import Float

import facesem_jax
from experiments import run_record
from experiments.augment_report import render_report
from experiments.augment_sets import (
    ADDED,
    WAYS,
    Extrapolation,
    Labelled,
    as_pixels,
    even_rows,
    extrapolated,
    training_set,
)
from experiments.face_measures import luminance_measurements
from experiments.face_sources import face_set, stream_source
from experiments.landmarks import find_landmarks, head_angles
from experiments.localized_stages import Track, call, in_batches, silent, synthesize
from experiments.option_checks import at_most, check_numbers
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.direction_set import DirectionSet
from facesem_jax.semantics.extrapolation import extrapolate, semantic_per_label
from facesem_jax.training.regressor import RegressorConfig, fit_regressor, read_off

FILES = ("metrics.json", "augment.npz", "report.html")
#: The semantic whose direction is followed, and the label's unit.
LABELS = {"yaw": ("yaw", "degrees"), "light": ("light_x", "1")}
NARROW, WIDE = 0.5, 2.0
"""In standard deviations of the label over the stream's faces."""
BINS = (0.0, 0.5, 1.0, 1.5, 2.0)
_RESAMPLES = 2000
_CHUNK = 2000  # Faces per start of the landmark model, which writes to the terminal at each.


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains regressors on narrow, augmented and balanced sets of faces, and compares them.

    Attributes:
      sizes: Faces of the narrow set.
      seeds: Trainings per size and way, on different faces.
      pool: Faces that are drawn and labelled for training; narrow and balanced sets come from it.
      test: Faces that are drawn and labelled for the test, of which an even choice is kept.
      steps: Steps of a training.
      generator: A bundled name, or a directory that also holds an encoder.
      directions: A bundled name, a directory that `experiments.localized` wrote, or a file of
        `facesem directions export`. Default: those that lie with the generator.
      seed: Seeds every random choice.
      output: Directory for the results; earlier results there are replaced.
      quick: A run of under 2 minutes: fewer faces, sizes, seeds and steps.
    """

    sizes: tuple[int, ...] = (32, 128, 512, 4096)
    seeds: int = 5
    pool: int = 16000
    test: int = 6000
    steps: int = 400
    generator: str = "digiface64"
    directions: str | None = None
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/augment")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number that is out of range.
        """
        check_numbers(self, {"seeds": 1, "pool": 200, "test": 200, "steps": 1})
        if not self.sizes or min(self.sizes) < 8:
            raise FacesemError(f"sizes are {self.sizes}; expected at least 8 each.")
        if not self.quick:
            return self
        fewer = at_most(self, pool=1600, test=1000, steps=150)
        return dataclasses.replace(fewer, sizes=(32, 256), seeds=2)


@dataclasses.dataclass(frozen=True)
class AugmentResults:
    """All that the page shows.

    Attributes:
      metrics: The contents of ``metrics.json``.
      shown: Per label, extrapolated faces in [-1, 1] (faces by labels), and their labels.
    """

    metrics: dict
    shown: dict[str, tuple[Float[np.ndarray, "m t h w 3"], Float[np.ndarray, " t"]]]


def measure(images: Float[np.ndarray, "n h w 3"], label: str, track: Track) -> np.ndarray:
    """Labels of faces; NaN where the landmark model finds none."""
    if label == "light":
        return luminance_measurements(images)["left_right"]
    parts = [
        head_angles(find_landmarks(images[i : i + _CHUNK])).yaw
        for i in track(range(0, len(images), _CHUNK), "landmarks", -(-len(images) // _CHUNK))
    ]
    return np.concatenate(parts)


def summarise(
    errors: Float[np.ndarray, "s n"],
    baseline: Float[np.ndarray, "s n"],
    size: Float[np.ndarray, " n"],
    seed: int,
) -> dict:
    """Mean absolute errors, whole and by distance of the label from the middle.

    Args:
      errors: Absolute error per seed and test face.
      baseline: The same of the narrow set alone.
      size: The test faces' labels, absolute, in standard deviations.
      seed: Seeds the bootstrap over test faces.

    Returns:
      ``mean``, ``std`` (over seeds), ``gain`` over the baseline with its 95 % interval ``low`` to
      ``high`` (paired bootstrap over test faces, seeds averaged; the percentile method), and per
      bin the same.
    """
    difference = (baseline - errors).mean(axis=0)
    rng = np.random.default_rng(seed)

    def part(rows) -> dict:
        own = errors[:, rows]
        drawn = difference[rows][rng.integers(0, rows.sum(), (_RESAMPLES, rows.sum()))]
        low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
        return {
            "faces": int(rows.sum()),
            "mean": float(own.mean()),
            "std": float(own.mean(axis=1).std()),
            "gain": float(difference[rows].mean()),
            "low": float(low),
            "high": float(high),
        }

    edges = list(itertools.pairwise(BINS))
    return part(size >= 0) | {"bins": [part((size >= a) & (size < b)) for a, b in edges]}


def one_label(
    label: str, pool: Labelled, test: Labelled, way: Extrapolation, options: Options, track: Track
) -> tuple[dict, dict, tuple]:
    """All trainings of one label.

    Returns:
      Numbers, arrays, and the extrapolated faces to show.

    Raises:
      FacesemError: If the pool is too small for the largest narrow set.
    """
    std = float(np.std(pool.labels))
    wide = WIDE * std
    rng = np.random.default_rng(options.seed)
    kept = even_rows(test.labels, wide, 2 * len(test.labels) // 5, rng)
    test = test.at(kept)
    near = np.flatnonzero(np.abs(pool.labels) < NARROW * std)
    if len(near) < max(options.sizes):
        raise FacesemError(
            f"{len(near)} of {len(pool.labels)} faces lie within {NARROW} standard deviations of "
            f"{label}; the largest set needs {max(options.sizes)}. Draw more (--pool), or ask for "
            "smaller sets (--sizes)."
        )
    config = RegressorConfig(steps=options.steps)
    most = (1 + ADDED) * max(options.sizes)
    read = as_pixels(test.images, config.resolution)
    size, found, arrays = np.abs(test.labels) / std, {}, {"labels": test.labels}
    jobs = [(n, s) for n in options.sizes for s in range(options.seeds)]
    errors = {way_name: {n: [] for n in options.sizes} for way_name in WAYS}
    for n, s in track(jobs, f"regressors of {label}", len(jobs)):
        draw = np.random.default_rng([options.seed, n, s])
        rows = draw.permutation(near)[:n]
        for name in WAYS:
            images, labels = training_set(name, rows, pool, wide, way, [options.seed, n, s, 1])
            pixels = np.zeros((most, config.resolution, config.resolution, 3), np.uint8)
            targets = np.zeros(most, np.float32)
            pixels[: len(labels)] = as_pixels(images, config.resolution)
            targets[: len(labels)] = labels / wide
            model = fit_regressor(
                pixels, targets, count=len(labels), seed=options.seed + s, config=config
            )
            errors[name][n].append(np.abs(read_off(model, read) * wide - test.labels))
    for n in options.sizes:
        base = np.stack(errors["nothing"][n])
        found[str(n)] = {
            name: summarise(np.stack(errors[name][n]), base, size, options.seed) for name in WAYS
        }
        arrays |= {f"errors/{name}/{n}": np.stack(errors[name][n]) for name in WAYS}

    narrow = pool.at(rng.permutation(near)[:256])
    images, asked = extrapolated(narrow, 256, wide, way, rng)
    measured = measure(images, label, track)
    both = np.isfinite(measured)
    numbers = {
        "unit": LABELS[label][1],
        "std": std,
        "narrow": NARROW * std,
        "wide": wide,
        "test_faces": len(test.labels),
        "sizes": found,
        # Of the faces that were extrapolated: is the predicted label the measured one?
        "labels": {
            "found": float(both.mean()),
            "slope": float(np.polyfit(asked[both], measured[both], 1)[0]),
            "error": float(np.mean(np.abs(asked[both] - measured[both]))),
            "correlation": float(np.corrcoef(asked[both], measured[both])[0, 1]),
        },
    }
    targets = np.linspace(-wide, wide, 7)
    slope = numbers["semantic_per_label"] = semantic_per_label(
        narrow.latents, narrow.labels, way.gradient
    )
    few = narrow.at(np.arange(4))
    each = [np.repeat(x, len(targets), axis=0) for x in (few.latents, few.labels)]
    shown = way.draw(extrapolate(*each, np.tile(targets, len(few.labels)), way.step, slope))
    return numbers, arrays, (shown.reshape(-1, len(targets), *shown.shape[1:]), targets)


def extrapolation(directions: DirectionSet, name: str, generator) -> Extrapolation:
    """The direction of a global semantic, decorrelated from the others.

    Raises:
      FacesemError: If the directions lack it.
    """
    if name not in directions.names:
        raise FacesemError(f"the directions have no {name}; they have {directions.all_names[:9]}.")

    def draw(ws):
        ws = np.asarray(ws, np.float32)
        return np.clip(in_batches(generator, ws, silent, "", call=synthesize), -1, 1)

    gradient = directions.gradients[directions.names.index(name)]
    return Extrapolation(gradient, directions.move({name: 1.0}, decorrelated=True), draw)


def labelled(seed: int, count: int, encoder, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Faces of the stream and their w."""
    faces = face_set(stream_source(seed), count)
    encode = in_batches(encoder, faces.images, track, "encoding", call=call, batch=64)
    return faces.images, encode


def run(options: Options, track: Track) -> tuple[AugmentResults, dict]:
    """The whole job.

    Args:
      options: Checked options.
      track: Progress.

    Returns:
      The results, and the arrays of ``augment.npz``.
    """
    watch = run_record.Stopwatch()
    generator = facesem_jax.load_generator(options.generator)
    encoder = facesem_jax.load_encoder(options.generator)
    directions = facesem_jax.load_directions(options.directions or options.generator)
    # Seeds of their own, far from those of the training of generator and decomposer.
    sets = {
        name: labelled(options.seed + offset, count, encoder, track)
        for name, offset, count in (("pool", 7001, options.pool), ("test", 7002, options.test))
    }
    watch.lap("faces")
    numbers, arrays, shown = {}, {}, {}
    for label, (semantic, _) in LABELS.items():
        values = {name: measure(images, label, track) for name, (images, _) in sets.items()}
        # As measured: a mirrored face has the negative label, and 0 is its middle.
        parts = {
            name: Labelled(images, latents, values[name]).at(np.isfinite(values[name]))
            for name, (images, latents) in sets.items()
        }
        watch.lap(f"labels of {label}")
        way = extrapolation(directions, semantic, generator)
        numbers[label], own, shown[label] = one_label(
            label, parts["pool"], parts["test"], way, options, track
        )
        arrays |= {f"{label}/{k}": v for k, v in own.items()}
        watch.lap(f"regressors of {label}")
    metrics = {
        **run_record.header(options, watch),
        "labels": numbers,
    }
    return AugmentResults(metrics, shown), arrays


def main(options: Options) -> None:
    """Runs the job and writes its files, all or none."""
    options = options.checked()
    with OutputDirectory(options.output, FILES) as output, progress_track() as track:
        results, arrays = run(options, track)
        run_record.write_results(
            output, results.metrics, render_report(results), "augment.npz", arrays
        )
    for label, numbers in results.metrics["labels"].items():
        for n, ways in numbers["sizes"].items():
            parts = [f"{name} {ways[name]['mean']:.3g}" for name in WAYS]
            print(f"{label}, {n} faces: mean absolute error {', '.join(parts)}")
    print(f"page: {options.output / 'report.html'}")


if __name__ == "__main__":
    run_command(main, Options)
