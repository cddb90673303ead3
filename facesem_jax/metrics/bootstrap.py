"""Confidence intervals by resampling faces."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facesem_jax.errors import FacesemError


class Interval(NamedTuple):
    """A mean and what the choice of faces leaves open.

    Attributes:
      mean: Over faces.
      low: Lower end of the interval.
      high: Upper end.
    """

    mean: float
    low: float
    high: float


def mean_interval(
    values: Float[np.ndarray, "n ..."],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over everything, with a percentile interval over the first axis.

    Whole faces are drawn with replacement; what was measured on one face (over directions, say)
    stays together, so that the interval is about other faces, not about other directions.

    Args:
      values: One entry, or an array of them, per face; NaN where nothing could be measured.
      level: Of confidence, between 0 and 1.
      resamples: Number of draws.
      seed: Seeds them.

    Returns:
      The interval; all NaN if nothing was measured.

    Raises:
      FacesemError: On no faces, infinite values, or a level or number of draws out of range.

    Source:
      Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3.

    Example:
      >>> mean_interval(np.array([[1.0, 3.0], [1.0, 3.0]]))
      Interval(mean=2.0, low=2.0, high=2.0)
    """
    values = np.asarray(values, np.float64)
    if values.ndim < 1 or not len(values):
        raise FacesemError("there is no face to take a mean of.")
    if not (0 < level < 1 and resamples >= 1):
        raise FacesemError(
            f"level is {level} and resamples {resamples}; expected a level between 0 and 1 and at "
            "least 1 draw."
        )
    flat = values.reshape(len(values), -1)
    known = ~np.isnan(flat)
    if np.isinf(flat).any():
        raise FacesemError("a value is infinite, and so is its mean; leave out what diverged.")
    total, count = np.where(known, flat, 0).sum(axis=1), known.sum(axis=1)
    if not count.any():
        return Interval(np.nan, np.nan, np.nan)
    draws = np.random.default_rng(seed).integers(0, len(flat), (resamples, len(flat)))
    counts = count[draws].sum(axis=1)
    means = total[draws].sum(axis=1)[counts > 0] / counts[counts > 0]
    edge = 100 * (1 - level) / 2
    low, high = np.percentile(means, [edge, 100 - edge])
    return Interval(float(total.sum() / count.sum()), float(low), float(high))
