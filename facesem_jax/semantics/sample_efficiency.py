"""How many samples a regression needs to find the direction that exact gradients give."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.environment import DEFAULT_RIDGE, direction_cosine, ridge_regression


def direction_score(
    v: Float[np.ndarray, "k d"], ws: Float[np.ndarray, "n d"], ys: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, " k"]:
    r"""Share of y's variance that moves with ``v w``, whatever v's length: ``corr(v w, y)^2``.

    On samples that took no part in finding v this is the held-out R^2 of the best line in
    ``v w``. It judges a direction alone, so that regressions and mean gradients compare.

    Args:
      v: Directions in the rows.
      ws: Latents.
      ys: Semantics.

    Returns:
      A share per semantic, 0 for a direction or a semantic that does not vary.

    Raises:
      FacesemError: On wrong shapes.

    Example:
      >>> ws = np.random.default_rng(0).normal(size=(100, 3))
      >>> direction_score(np.array([[0.0, 2.0, 0.0]]), ws, -ws[:, 1:2]).round(6)
      array([1.])
    """
    v, ws, ys = (np.asarray(x, np.float64) for x in (v, ws, ys))
    check_shape("ws", ws, (None, None))
    check_shape("ys", ys, (len(ws), None))
    check_shape("v", v, (ys.shape[1], ws.shape[1]))
    predicted = ws @ v.T
    predicted = predicted - predicted.mean(axis=0)
    centred = ys - ys.mean(axis=0)
    scale = np.sum(predicted**2, axis=0) * np.sum(centred**2, axis=0)
    both = np.square(np.sum(predicted * centred, axis=0))
    return np.where(scale > 0, both / np.where(scale > 0, scale, 1), 0)


class SampleCurve(NamedTuple):
    """Regressions on growing numbers of samples.

    Attributes:
      counts: Samples per regression.
      cosine: Mean over the repeats of the cosine with the reference, (count, k).
      score: Mean over the repeats of `direction_score` on the held-out samples, (count, k).
      score_spread: Its standard deviation over the repeats; 0 where there is only one.
      repeats: Regressions per count, on different samples.
    """

    counts: np.ndarray
    cosine: Float[np.ndarray, "c k"]
    score: Float[np.ndarray, "c k"]
    score_spread: Float[np.ndarray, "c k"]
    repeats: np.ndarray


def regression_curve(
    ws: Float[np.ndarray, "n d"],
    ys: Float[np.ndarray, "n k"],
    reference: Float[np.ndarray, "k d"],
    heldout: tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "m k"]],
    counts: Sequence[int],
    *,
    most_repeats: int = 8,
    ridge: float = DEFAULT_RIDGE,
) -> SampleCurve:
    """Directions from the first, second, ... ``count`` samples, as many as there are.

    Args:
      ws: Independent draws of w.
      ys: Their semantics.
      reference: Directions to compare with, such as `stream_exact_directions` gives.
      heldout: Latents and semantics for the score.
      counts: Samples per regression, each between 2 and n.
      most_repeats: At most so many disjoint sets of samples per count.
      ridge: As for `ridge_regression`; below w_dim samples it is what makes the fit unique.

    Raises:
      FacesemError: On wrong shapes or a count out of range.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> w, truth = rng.normal(size=(600, 3)), np.array([[1.0, 0.0, 0.0]])
      >>> y = w @ truth.T + rng.normal(size=(600, 1))
      >>> found = regression_curve(w[:400], y[:400], truth, (w[400:], y[400:]), [10, 100])
      >>> bool(found.cosine[0, 0] < found.cosine[1, 0]), found.repeats
      (True, array([8, 4]))
    """
    ws, ys = np.asarray(ws), np.asarray(ys)
    check_shape("ws", ws, (None, None))
    check_shape("ys", ys, (len(ws), None))
    check_shape("reference", reference, (ys.shape[1], ws.shape[1]))
    if not counts or min(counts) < 2 or max(counts) > len(ws):
        raise FacesemError(f"counts are {tuple(counts)}; expected numbers from 2 to {len(ws)}.")
    rows = []
    for count in counts:
        repeats = min(len(ws) // count, most_repeats)
        found = [
            ridge_regression(
                jnp.asarray(ws[r * count : (r + 1) * count]),
                jnp.asarray(ys[r * count : (r + 1) * count]),
                ridge,
            )[0]
            for r in range(repeats)
        ]
        cosine = [np.asarray(direction_cosine(v, jnp.asarray(reference))) for v in found]
        score = [direction_score(np.asarray(v), *heldout) for v in found]
        rows.append((np.mean(cosine, axis=0), np.mean(score, axis=0), np.std(score, axis=0)))
    cosine, score, spread = (np.stack(part) for part in zip(*rows, strict=True))
    repeats = np.minimum(len(ws) // np.asarray(counts), most_repeats)
    return SampleCurve(np.asarray(counts), cosine, score, spread, repeats)


def samples_to_reach(
    counts: Sequence[int], scores: Float[np.ndarray, " c"], target: float
) -> float | None:
    """Where a curve first reaches a target: linear between counts on a logarithmic axis.

    Args:
      counts: Growing numbers of samples.
      scores: The score at each.
      target: The score to reach.

    Returns:
      A number of samples; ``counts[0]`` if the first one suffices, ``None`` if none does.

    Raises:
      FacesemError: If counts and scores differ in length, or counts do not grow.

    Example:
      >>> samples_to_reach([100, 10_000], [0.2, 0.8], 0.5)
      1000.0
    """
    check_shape("scores", np.asarray(scores), (len(counts),))
    if not len(counts) or np.any(np.diff(counts) <= 0) or counts[0] <= 0:
        raise FacesemError(f"counts are {tuple(counts)}; expected growing positive numbers.")
    reached = np.flatnonzero(np.asarray(scores) >= target)
    if not reached.size:
        return None
    i = int(reached[0])
    if i == 0:
        return float(counts[0])
    share = (target - scores[i - 1]) / (scores[i] - scores[i - 1])
    low, high = np.log(counts[i - 1]), np.log(counts[i])
    return round(float(np.exp(low + share * (high - low))), 6)
