r"""Which part of the decomposer's training does what? Every part left out in turn, several seeds.

    python -m experiments.decomposer_ablation --output outputs/decomposer_ablation

A job is one variant (`experiments.ablation_variants`) with one seed. Its numbers are written when
it ends, and ``metrics.json``, ``report.html`` and ``table.md`` from all jobs done so far; run the
command again to go on after a stop, or with more seeds. Needs the face stream; with MediaPipe also
the yaw is judged (see `experiments.landmarks`).
"""

import dataclasses
import json
import pathlib
import shutil

import numpy as np

from experiments import run_record
from experiments.ablation_faces import HeldOut, held_out
from experiments.ablation_job import Budget, train_variant
from experiments.ablation_measures import measure, summary
from experiments.ablation_report import markdown, render_report
from experiments.ablation_variants import VARIANTS
from experiments.decomposition import decompose_faces, faces_sheet
from experiments.option_checks import at_most, check_numbers
from experiments.output_files import write_files
from facesem_jax import load_encoder
from facesem_jax.command_line import run_command
from facesem_jax.errors import FacesemError
from facesem_jax.generators.encoder import Encoder
from facesem_jax.loading import resolve
from facesem_jax.viz.png import picture_png

_SHOWN = 8
#: Options that more jobs may be added with.
_FREE = ("variants", "seeds", "output", "quick")
_QUICK_VARIANTS = ("full", "plain")


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains the decomposer with every part left out in turn, and compares.

    Attributes:
      variants: Which trainings; none for all.
      seeds: Seeds each, from ``seed`` on.
      seed: The first seed; seeds weights, faces and every random choice.
      steps: Steps of a training.
      batch_size: Faces per step.
      size: Height and width of the images in pixels.
      learning_rate: Of Adam.
      every: Steps after which a coupled training measures its directions again.
      faces: Held-out faces.
      edited: Held-out faces that are edited in pose and light.
      generator: Whose encoder the perceptual term uses (bundled name or directory).
      decomposer: The finished decomposer whose directions the edits follow.
      output: Where the results go; jobs found there are not run again.
      quick: A run of some minutes: two variants, one seed, few steps.
    """

    variants: tuple[str, ...] = ()
    seeds: int = 3
    seed: int = 0
    steps: int = 640
    batch_size: int = 16
    size: int = 32
    learning_rate: float = 1e-3
    every: int = 100
    faces: int = 1024
    edited: int = 128
    generator: str = "digiface64"
    decomposer: str = "digiface64"
    output: pathlib.Path = pathlib.Path("outputs/decomposer_ablation")
    quick: bool = False

    def checked(self) -> "Options":
        """The options, reduced by ``quick``; the variants by name.

        Raises:
          FacesemError: On a number that is out of range, or an unknown variant.
        """
        least = {"seeds": 1, "steps": 4, "batch_size": 2, "size": 32, "every": 1}
        check_numbers(self, least | {"faces": 16, "edited": 2})
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown:
            raise FacesemError(
                f"There is no variant {unknown[0]!r}; choose from {', '.join(VARIANTS)}."
            )
        chosen = self.variants or (_QUICK_VARIANTS if self.quick else tuple(VARIANTS))
        options = dataclasses.replace(self, variants=chosen)
        if not self.quick:
            return options
        return at_most(options, seeds=1, steps=24, every=8, faces=64, edited=8)

    @property
    def budget(self) -> Budget:
        """What every training gets."""
        return Budget(self.steps, self.batch_size, self.size, self.learning_rate, self.every)


def open_directory(options: Options) -> None:
    """Makes the output directory, or checks that what stands there has the same settings.

    Raises:
      FacesemError: If it cannot be written, or holds jobs of other settings.
    """
    settings = {k: v for k, v in run_record.settings(options).items() if k not in _FREE}
    path = options.output / "settings.json"
    try:
        (options.output / "jobs").mkdir(parents=True, exist_ok=True)
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else settings
    except (OSError, ValueError) as error:
        raise FacesemError(f"{options.output} cannot be used ({error}).") from error
    if found != settings:
        different = sorted(k for k in settings if found.get(k) != settings[k])
        raise FacesemError(
            f"{options.output} holds jobs of other settings ({', '.join(different)}); choose "
            "another directory with --output."
        )
    write_files({path: (json.dumps(settings, indent=1) + "\n").encode()})


def job_path(output: pathlib.Path, name: str, seed: int) -> pathlib.Path:
    """The file of a job's numbers; its sheet has the same name with ``.png``."""
    return output / "jobs" / f"{name}_{seed}.json"


def run_job(options: Options, name: str, seed: int, faces: HeldOut, encoder: Encoder) -> None:
    """Trains, measures, and writes the job's two files; its checkpoints then go.

    A training that diverges is a result: its file says so and has no numbers.
    """
    path = job_path(options.output, name, seed)
    scratch = options.output / "running" / f"{name}_{seed}"
    result = {"variant": name, "seed": seed}
    files = {}
    try:
        decomposer, seconds = train_variant(name, seed, options.budget, encoder, scratch)
    except FacesemError as error:
        if "diverged" not in str(error):
            raise
        result["diverged"] = str(error)
    else:
        result |= {"seconds": round(seconds, 1), "numbers": measure(decomposer, faces)}
        shown = faces_sheet(decompose_faces(decomposer, np.float32(faces.images[:_SHOWN])))
        files[path.with_suffix(".png")] = picture_png(shown)
    # The numbers last: a job is done when they are there.
    files[path] = (json.dumps(result, indent=1, allow_nan=False) + "\n").encode()
    write_files(files)
    shutil.rmtree(scratch, ignore_errors=True)


def finished_jobs(output: pathlib.Path) -> dict[str, list[dict]]:
    """The jobs done so far by variant, in the variants' order, each by seed.

    Raises:
      FacesemError: If a job's file is damaged.
    """
    found = {}
    for name in VARIANTS:
        paths = (output / "jobs").glob(f"{name}_*.json")
        try:
            jobs = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        except (OSError, ValueError) as error:
            raise FacesemError(f"A job of {name} cannot be read ({error}); remove it.") from error
        if jobs:
            found[name] = sorted(jobs, key=lambda job: job["seed"])
    return found


def write_page(options: Options, watch: run_record.Stopwatch) -> dict:
    """Writes ``metrics.json``, ``report.html`` and ``table.md`` from the jobs done so far.

    Returns:
      The metrics.
    """
    jobs = finished_jobs(options.output)
    metrics = {
        **run_record.header(options, watch),
        "jobs": jobs,
        "variants": {
            name: summary([job.get("numbers", {}) for job in done]) for name, done in jobs.items()
        },
    }
    sheets = {name: job_path(options.output, name, done[0]["seed"]) for name, done in jobs.items()}
    sheets = {name: path.with_suffix(".png") for name, path in sheets.items()}
    page = render_report(metrics, {k: p for k, p in sheets.items() if p.is_file()})
    write_files(
        {
            options.output / "metrics.json": json.dumps(
                metrics, indent=1, allow_nan=False
            ).encode(),
            options.output / "report.html": page.encode(),
            options.output / "table.md": (markdown(metrics) + "\n").encode(),
        }
    )
    return metrics


def main(options: Options) -> None:
    """Runs the jobs that are missing, seed by seed, and renews the page after each."""
    options = options.checked()
    # Both are there before anything is written.
    encoder = load_encoder(options.generator)
    resolve(options.decomposer, "decomposer")
    open_directory(options)
    watch = run_record.Stopwatch()
    faces = held_out(
        options.output / "held_out.npz",
        options.size,
        options.faces,
        options.edited,
        options.decomposer,
    )
    watch.lap("held-out faces")
    seeds = range(options.seed, options.seed + options.seeds)
    for name, seed in [(name, seed) for seed in seeds for name in options.variants]:
        if not job_path(options.output, name, seed).is_file():
            run_job(options, name, seed, faces, encoder)
            watch.lap(f"{name}, seed {seed}")
            write_page(options, watch)
            print(f"{name}, seed {seed}: done", flush=True)
    for name, row in write_page(options, watch)["variants"].items():
        print(f"{name}: {_line(row)}")
    print(f"page: {options.output / 'report.html'}")


def _line(row: dict) -> str:
    shown = {"convex": row["convex_seeds"], "yaw sign": row["yaw_sign"]}
    for name in ("error", "yaw", "albedo_pose", "albedo_light"):
        shown[name.replace("_", " under ")] = row.get(name, {}).get("mean")
    words = [f"{k} {'–' if v is None else f'{v:.3g}'}" for k, v in shown.items()]
    return f"{row['seeds']} seeds, " + ", ".join(words)


if __name__ == "__main__":
    run_command(main, Options)
