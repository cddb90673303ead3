"""Errors up to an affine map: for quantities that unlabelled training leaves free.

Without labels the canonical view, the scale of yaw and the strength of light are conventions of the
network's own; what can be asked is whether truth is an affine function of the estimate.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


class AffineFit(NamedTuple):
    """How truth follows an estimate, t = a x + b by least squares over the samples.

    Attributes:
      slope: a.
      offset: b, in the truth's unit.
      correlation: Pearson's; 0 if either has no spread.
      error: Mean of |t - a x - b|, in the truth's unit.
      chance: Mean of |t - mean t|: the error of an estimate that knows nothing.
    """

    slope: float
    offset: float
    correlation: float
    error: float
    chance: float


def affine_fit(estimate: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"]) -> AffineFit:
    """Fits truth by an affine function of the estimate.

    Args:
      estimate: Of n samples, n at least 3.
      truth: Of the same samples.

    Returns:
      The fit and its errors; an estimate without spread gets slope 0.

    Raises:
      FacesemError: On shapes that differ, or fewer than 3 samples.
    """
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    check_shape("estimate", estimate, (None,))
    check_shape("truth", truth, estimate.shape)
    if len(truth) < 3:
        raise FacesemError(f"{len(truth)} samples are too few for an affine fit; give at least 3.")
    x, t = estimate - estimate.mean(), truth - truth.mean()
    # Rounding alone gives equal numbers a spread of about one part in 1e16.
    spread = np.sqrt(np.mean(np.square(x)))
    flat = spread <= 1e-12 * max(1.0, np.abs(estimate).max())
    slope = 0.0 if flat else float(np.mean(x * t) / spread**2)
    deviation = np.sqrt(np.mean(np.square(t)))
    return AffineFit(
        slope=slope,
        offset=float(truth.mean() - slope * estimate.mean()),
        correlation=float(slope * spread / deviation) if deviation > 0 else 0.0,
        error=float(np.mean(np.abs(t - slope * x))),
        chance=float(np.mean(np.abs(t))),
    )


def direction_error(
    estimate: Float[np.ndarray, "n 2"], truth: Float[np.ndarray, "n 2"]
) -> tuple[float, float]:
    """Mean angle between light directions (d_x, d_y, 1) after an affine fit of d_x and of d_y.

    Args:
      estimate: (d_x, d_y) of n samples.
      truth: Of the same samples.

    Returns:
      Degrees, and the degrees of an estimate that knows nothing (the mean direction).

    Raises:
      FacesemError: As `affine_fit`.
    """
    estimate, truth = np.asarray(estimate, np.float64), np.asarray(truth, np.float64)
    check_shape("estimate", estimate, (None, 2))
    check_shape("truth", truth, estimate.shape)
    fits = [affine_fit(estimate[:, i], truth[:, i]) for i in range(2)]
    fitted = np.stack([f.slope * estimate[:, i] + f.offset for i, f in enumerate(fits)], axis=1)
    mean = np.broadcast_to(truth.mean(axis=0), truth.shape)
    return _mean_angle(fitted, truth), _mean_angle(mean, truth)


def _mean_angle(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "n 2"]) -> float:
    a, b = (np.concatenate([d, np.ones((len(d), 1))], axis=1) for d in (a, b))
    sine = np.linalg.norm(np.cross(a, b), axis=1)
    return float(np.degrees(np.arctan2(sine, np.sum(a * b, axis=1))).mean())
