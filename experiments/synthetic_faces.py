r"""How well does the decomposer find depth, view and light where the truth is known?

    python -m experiments.synthetic_faces
    python -m experiments.synthetic_faces --stage render
    python -m experiments.synthetic_faces --stage evaluate

Draws heads with known depth, view and light (`facesem_jax.heads`), trains the decomposer on their
pictures without labels, lets its reading of the view learn from views that are searched
(`experiments.searched_views`) on a mean surface that is fitted to the heads' mean pictures
(`experiments.pooled_surface`), trains a network of the same size with depth as the label, and
compares them with a constant and the average depth, as Table 2 of Unsup3D (arXiv 1911.11130) does
on the Basel Face Model. Sets and checkpoints lie in ``--runs``: a run that was stopped goes on from
there, and ``--stage evaluate`` measures what has been trained so far. Writes ``metrics.json``,
``errors.npz`` and ``report.html``.
"""

import dataclasses
import pathlib
from typing import Literal

import numpy as np

from experiments import run_record
from experiments.localized_stages import Track
from experiments.option_checks import at_most, check_numbers
from experiments.output_directory import OutputDirectory
from experiments.progress import progress_track
from experiments.searched_views import ViewLearning, learn_views
from experiments.synthetic_measures import (
    PUBLISHED,
    DepthErrors,
    average_estimate,
    canonical_estimates,
    constant_estimate,
    depth_errors,
    margin,
    pose_and_light_errors,
    supervised_estimate,
    table_row,
    unsupervised_estimate,
)
from experiments.synthetic_report import NAMES, SyntheticResults, render_report
from experiments.synthetic_sets import HeadSet, frontal_depth, stored_set
from experiments.synthetic_training import (
    TrainingConfig,
    latest_supervised,
    train_supervised,
    train_unsupervised,
)
from experiments.training_snapshot import snapshot_decomposer
from facesem_jax import load_decomposer
from facesem_jax.checkpoint import Description, save_module
from facesem_jax.command_line import run_command
from facesem_jax.decomposer import DecomposerConfig
from facesem_jax.decomposer.config import PriorShape
from facesem_jax.errors import FacesemError
from facesem_jax.training.decomposer_loss import DecomposerLossConfig
from facesem_jax.training.pooled_surface import PooledSurfaceConfig
from facesem_jax.training.view_search import ViewSearchConfig

FILES = ("metrics.json", "errors.npz", "report.html")
#: Columns of the page's sheet.
_SHOWN = 8


def heads_views() -> ViewLearning:
    """How the views of whole heads are searched: each has a pitch and a roll of its own."""
    search = ViewSearchConfig(
        window=(26.0, 30.0), components=60, near=12.0, freedom=(12.0, 12.0, 20.0)
    )
    return ViewLearning(rounds=3, steps=600, surface="pooled", search=search)


def heads_loss() -> DecomposerLossConfig:
    """The loss for heads that differ in place and turn, drawn from no latents."""
    return DecomposerLossConfig(
        hold_steps=400,
        ramp_steps=600,
        late=True,
        known_shift=0.006,
        unfold=10.0,
        unfold_from=14.0,
        unfold_spread=12.0,
        unfold_after=1000,
    )


def _quick_surface() -> PooledSurfaceConfig:
    """Bins so broad that whatever an untrained network reads falls into several of them."""
    return PooledSurfaceConfig(yaw=(-90, 0, 90), pitch=(-90, 90), columns=2, rows=2, rounds=1)


@dataclasses.dataclass(frozen=True)
class Options:
    """Trains on synthetic heads and measures depth, view and light against the truth.

    Attributes:
      runs: Directory of the sets and the checkpoints; what is there is used.
      stage: ``render`` draws the sets alone, ``train`` and ``supervised`` train one network alone,
        ``views`` searches views from the last checkpoint of ``train`` and learns them, ``evaluate``
        measures the last checkpoints; ``all`` does everything.
      heads: Heads to train on.
      test_heads: Heads to measure on.
      steps: Steps of the training without labels.
      supervised_steps: Steps of the supervised training.
      batch_size: Heads per step.
      learning_rate: Of Adam without labels; falls to a tenth over the last 40 % of the steps
        (cosine).
      supervised_learning_rate: The same with labels.
      prior: Prior of the canonical depth, see `DecomposerConfig.depth_prior`; the default is
        taller than the bundled decomposer's, which is made for faces that fill the frame. Every
        stage needs the same.
      prior_shape: What the numbers of ``prior`` mean, see `DecomposerConfig.prior_shape`.
      seed: Seeds heads, weights and orders.
      output: Directory for the results; earlier results there are replaced.
      quick: A run of some 2 minutes that shows that everything works; its numbers mean nothing.
      loss: Weights and schedule of the loss.
      view_heads: Heads to train on whose views are searched.
      views: How views are searched and learned. ``views`` and ``evaluate`` need the same.
    """

    runs: pathlib.Path = pathlib.Path("runs/synthetic_faces")
    stage: Literal["all", "render", "train", "views", "supervised", "evaluate"] = "all"
    heads: int = 12000
    test_heads: int = 1000
    steps: int = 3400
    supervised_steps: int = 3000
    batch_size: int = 16
    learning_rate: float = 8e-4
    supervised_learning_rate: float = 4e-4
    prior: tuple[float, float, float, float] = (0.6, -1.3, 22.0, 40.0)
    prior_shape: PriorShape = "bump"
    seed: int = 0
    output: pathlib.Path = pathlib.Path("outputs/synthetic_faces")
    quick: bool = False
    loss: DecomposerLossConfig = dataclasses.field(default_factory=heads_loss)
    view_heads: int = 6000
    views: ViewLearning = dataclasses.field(default_factory=heads_views)

    def checked(self) -> "Options":
        """The options, reduced by ``quick``.

        Raises:
          FacesemError: On a number that is out of range.
        """
        least = {"heads": 16, "test_heads": 3, "steps": 1, "supervised_steps": 1, "batch_size": 2}
        check_numbers(self, least | {"view_heads": 16})
        if not self.quick:
            return self
        reduced = at_most(
            self, heads=400, test_heads=100, steps=60, supervised_steps=60, batch_size=8
        )
        # A directory of its own: a quick run must not stand in the way of a real one.
        loss = dataclasses.replace(self.loss, hold_steps=20, ramp_steps=20, unfold_after=40)
        search = dataclasses.replace(self.views.search, components=5, near=180.0)
        views = dataclasses.replace(
            self.views, rounds=1, steps=20, batch_size=8, search=search, pooled=_quick_surface()
        )
        return dataclasses.replace(
            reduced, runs=self.runs / "quick", loss=loss, view_heads=100, views=views
        )

    @property
    def sizes(self) -> DecomposerConfig:
        """The decomposer's configuration."""
        return DecomposerConfig.compact(depth_prior=self.prior, prior_shape=self.prior_shape)

    def training(self, name: str, steps: int, learning_rate: float) -> TrainingConfig:
        """The configuration of one of the trainings."""
        return TrainingConfig(self.runs / name, steps, self.batch_size, learning_rate, self.seed)


def head_sets(options: Options, track: Track) -> tuple[HeadSet, HeadSet]:
    """The heads to train on and those to measure on, drawn where they are not there yet."""
    training = stored_set(options.runs / "training.npz", 2 * options.seed, options.heads, track)
    test = stored_set(options.runs / "test.npz", _test_seed(options), options.test_heads, track)
    return training, test


def _test_seed(options: Options) -> int:
    """An odd seed, which no set to train on has."""
    return 2 * options.seed + 1


def views_directory(options: Options, steps: int) -> pathlib.Path:
    """Where views are searched from what was trained for so many steps."""
    return options.runs / f"views_{steps}"


def learn_searched_views(options: Options, training: HeadSet) -> None:
    """Searches and learns, or resumes, and writes the decomposer.

    Raises:
      FacesemError: If there is no checkpoint of the unlabelled training, or it still holds depth
        back.
    """
    decomposer, steps = snapshot_decomposer(options.runs / "unsupervised", options.sizes)
    directory = views_directory(options, steps)
    if (directory / "decomposer").is_dir():
        return
    if float(options.loss.release(steps)) < 1:
        raise FacesemError(
            f"{options.runs / 'unsupervised'} has {steps} steps and depth is not released yet; "
            "train on before views are searched."
        )
    heads = training.images(slice(0, options.view_heads))
    learned = learn_views(decomposer, heads, options.views, directory)
    source = f"facesem-jax on synthetic heads, views searched {options.views.rounds} times"
    description = Description("unsup3d", learned.config.to_dict(), None, source)
    save_module(directory / "decomposer", learned, description)


def measure(options: Options, training: HeadSet, test: HeadSet) -> tuple[SyntheticResults, dict]:
    """Measures the last checkpoints and the baselines.

    Args:
      options: Checked options.
      training: For the average depth.
      test: What is measured on.

    Returns:
      The results, and the arrays of ``errors.npz``.

    Raises:
      FacesemError: If there is no checkpoint of the unlabelled training.
    """
    watch = run_record.Stopwatch()
    decomposer, steps = snapshot_decomposer(options.runs / "unsupervised", options.sizes)
    config = decomposer.config
    release = float(options.loss.release(steps))
    found, view, light = unsupervised_estimate(test, decomposer, release)
    estimates = {
        "unsupervised": found,
        "constant": constant_estimate(test, config),
        "average": average_estimate(test, training),
    }
    taken = {"unsupervised": steps}
    searched = views_directory(options, steps) / "decomposer"
    if searched.is_dir():
        decomposer = load_decomposer(searched)
        estimates["read"], taken["read"] = found, steps
        estimates["unsupervised"], view, light = unsupervised_estimate(test, decomposer)
        taken["unsupervised"] += options.views.rounds * options.views.steps
    try:
        network, taken["supervised"] = latest_supervised(options.runs / "supervised")
        estimates["supervised"] = supervised_estimate(test, network, config)
    except FacesemError:
        # The others stand without it; the table shows a dash.
        pass
    with progress_track() as track:
        frontal = frontal_depth(_test_seed(options), len(test), track)
    estimates |= canonical_estimates(test, *frontal, config)
    watch.lap("estimates")
    errors = {name: depth_errors(e, test, config) for name, e in estimates.items()}
    rows = {name: table_row(e) for name, e in errors.items()}
    watch.lap("errors")
    metrics = {
        **run_record.header(options, watch),
        "steps_taken": taken,
        "depth": rows,
        "published": {
            k: dict(zip(("side_x100", "mad_degrees"), v, strict=True)) for k, v in PUBLISHED.items()
        },
        "margin": margin(rows),
        "pose_and_light": pose_and_light_errors(view, light, test),
    }
    shown = slice(0, _SHOWN)
    results = SyntheticResults(
        metrics=metrics,
        images=test.images(shown),
        mask=test.mask[shown],
        depths={"truth": test.depth(shown)}
        | {name: e.depth[shown] for name, e in estimates.items() if name != "constant"},
        config=config,
    )
    arrays = {"view": view, "light": light, "true_view": test.view, "true_light": test.light}
    return results, arrays | _flat(errors)


def _flat(errors: dict[str, DepthErrors]) -> dict[str, np.ndarray]:
    return {f"{name}_{k}": v for name, e in errors.items() for k, v in e._asdict().items()}


def main(options: Options) -> None:
    """Draws, trains and measures, as far as the stage asks."""
    options = options.checked()
    with progress_track() as track:
        training, test = head_sets(options, track)
    if options.stage in ("all", "train"):
        config = options.training("unsupervised", options.steps, options.learning_rate)
        train_unsupervised(config, training, options.loss, options.sizes)
    if options.stage in ("all", "views"):
        learn_searched_views(options, training)
    if options.stage in ("all", "supervised"):
        rate = options.supervised_learning_rate
        config = options.training("supervised", options.supervised_steps, rate)
        train_supervised(config, training)
    if options.stage not in ("all", "evaluate"):
        return
    with OutputDirectory(options.output, FILES) as output:
        results, arrays = measure(options, training, test)
        run_record.write_results(
            output,
            run_record.finite_tree(results.metrics),
            render_report(results),
            "errors.npz",
            arrays,
        )
    for name, row in results.metrics["depth"].items():
        print(
            f"{NAMES[name]}: SIDE x 100 {row['side_x100']:.3f} ± {row['side_x100_sd']:.3f}, "
            f"MAD {row['mad_degrees']:.2f} ± {row['mad_degrees_sd']:.2f} degrees"
        )
    for name, fit in results.metrics["pose_and_light"].items():
        print(f"{name}: error {fit['error']:.3f}, by chance {fit['chance']:.3f}")
    print(f"page: {options.output / 'report.html'}")


if __name__ == "__main__":
    run_command(main, Options)
