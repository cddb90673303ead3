"""The stages of `experiments.environment`: directions, what they cost, what edits do."""

import dataclasses
import time

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.localized_stages import ANGLES, Track, in_batches
from facesem_jax.semantics.environment import stream_exact_directions
from facesem_jax.semantics.response import Leakage, Response, leakage, response
from facesem_jax.semantics.sample_efficiency import (
    SampleCurve,
    direction_score,
    regression_curve,
    samples_to_reach,
)
from facesem_jax.semantics.semantic_function import EnvironmentSemantics

EXACT_BATCH = 8
"""Faces whose gradients are taken at once."""
LONG_ANGLE = 45.0
"""Degrees to which edits of an angle are followed; the others go to three spreads."""


@dataclasses.dataclass(frozen=True)
class Exact:
    """Mean gradients over growing numbers of samples.

    Attributes:
      v: Over all of them, in the rows.
      counts: Numbers of samples.
      score: Held-out share of the variance along the mean gradient, (count, k).
      seconds: Per sample.
    """

    v: Float[np.ndarray, "k d"]
    counts: list[int]
    score: Float[np.ndarray, "e k"]
    seconds: float


@dataclasses.dataclass(frozen=True)
class Edits:
    """What edits with one set of steps do.

    Attributes:
      steps: In the rows, w per unit of the semantic.
      amounts: What was asked, per semantic, in its unit.
      responses: Per semantic.
      leakage: At one spread.
    """

    steps: Float[np.ndarray, "k d"]
    amounts: Float[np.ndarray, "k t"]
    responses: list[Response]
    leakage: Leakage


def exact_stage(
    f: EnvironmentSemantics,
    ws: Float[np.ndarray, "n d"],
    heldout: tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "m k"]],
    track: Track,
) -> Exact:
    """Exact directions, scored whenever the number of samples has doubled.

    Args:
      f: The global semantics.
      ws: Latents; the first step's time, with its compilation, is not counted where there are
        more.
      heldout: Latents and semantics for the score.
      track: Progress.
    """
    counts, means, seconds = [], [], []
    total, done = -(-len(ws) // EXACT_BATCH), 0
    steps = stream_exact_directions(f, jnp.asarray(ws), batch_size=EXACT_BATCH)
    begin = time.perf_counter()
    for step in track(steps, "exact gradients", total):
        mean = np.asarray(step.moments.mean)
        now = time.perf_counter()
        seconds.append(now - begin)
        begin, done = now, min(done + EXACT_BATCH, len(ws))
        if not counts or done >= 2 * counts[-1] or done == len(ws):
            counts.append(done)
            means.append(mean)
    score = np.stack([direction_score(mean, *heldout) for mean in means])
    each = float(np.median(seconds[1:] or seconds)) / min(EXACT_BATCH, len(ws))
    return Exact(means[-1], counts, score, each)


def sample_counts(most: int) -> list[int]:
    """Two per decade from 100 to ``most``, which is the last."""
    found = [round(10 ** (k / 2)) for k in range(4, 20) if 10 ** (k / 2) < 0.99 * most]
    return [*found, most]


def efficiency(
    curve: SampleCurve,
    exact: Exact,
    names: tuple[str, ...],
    forward_seconds: float,
) -> dict[str, dict]:
    """Per semantic: how many samples a regression needs for the exact direction's score.

    Args:
      curve: The regressions.
      exact: The mean gradients.
      names: The semantics.
      forward_seconds: Of one decomposed face.
    """
    rows = {}
    for k, name in enumerate(names):
        target = float(exact.score[-1, k])
        needed = samples_to_reach(curve.counts.tolist(), curve.score[:, k], target)
        rows[name] = {
            "cosine": float(curve.cosine[-1, k]),
            "regression_score": float(curve.score[-1, k]),
            "exact_score": target,
            "samples_needed": needed,
            "seconds_needed": None if needed is None else needed * forward_seconds,
            "exact_seconds": exact.seconds * exact.counts[-1],
        }
    return rows


def curve_stage(ws, ys, reference, heldout, track: Track) -> SampleCurve:
    """Regressions from 100 samples up; see `regression_curve`."""
    counts, parts = sample_counts(len(ws)), []
    for count in track(counts, "regressions", len(counts)):
        parts.append(regression_curve(ws, ys, reference, heldout, [count]))
    return SampleCurve(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))


def edits_stage(
    f: EnvironmentSemantics,
    steps: Float[np.ndarray, "k d"],
    spreads: Float[np.ndarray, " k"],
    faces: Float[np.ndarray, "n d"],
    points: int,
    track: Track,
    name: str,
) -> Edits:
    """Edits faces along every step and measures all semantics each time.

    Args:
      f: The global semantics.
      steps: In the rows, w per unit of the semantic.
      spreads: Standard deviations of the semantics.
      faces: Latents that took no part in any fit.
      points: Amounts on either side of 0.
      track: Progress.
      name: What the progress is called.
    """
    ends = np.where([name in ANGLES for name in f.names], LONG_ANGLE, 3 * spreads)
    amounts = np.linspace(-1, 1, 2 * points + 1) * ends[:, None]
    k, n, d = len(f.names), *faces.shape
    # The last two: one spread up and down, for the leakage.
    asked = np.concatenate([amounts, spreads[:, None], -spreads[:, None]], axis=1)
    moved = faces + asked[:, :, None, None] * steps[:, None, None]
    values = in_batches(f, moved.reshape(-1, d).astype(np.float32), track, name)
    values = values.reshape(k, asked.shape[1], n, k)
    change = values - values[:, points : points + 1]
    own = np.stack([change[i, :-2, :, i] for i in range(k)])
    return Edits(
        steps,
        amounts,
        [response(a, c) for a, c in zip(amounts, own, strict=True)],
        leakage(change[:, -2], change[:, -1], spreads),
    )
