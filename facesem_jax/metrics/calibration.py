"""Steps along directions that all change the pictures equally much."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facesem_jax.errors import FacesemError


class Calibration(NamedTuple):
    """Steps and what they do.

    Attributes:
      steps: Distance in W along each direction.
      change: The change that was measured there.
      reached: Whether it is the asked one, to the tolerance.
    """

    steps: Float[np.ndarray, " k"]
    change: Float[np.ndarray, " k"]
    reached: np.ndarray


def calibrate(
    change: Callable[[Float[np.ndarray, " k"]], Float[np.ndarray, " k"]],
    target: float,
    start: Float[np.ndarray, " k"],
    *,
    most: float = 1e3,
    tolerance: float = 0.02,
    iterations: int = 10,
) -> Calibration:
    r"""Solves ``change_i(t_i) = target`` for all directions at once.

    By the secant through the last two steps in logarithms, which is exact for a power law up to
    t^4: small changes are linear in t, large ones saturate. Once two steps have the root between
    them, a step that leaves their bracket goes to its middle (in logarithms) instead.

    Args:
      change: Changes at given steps; grows with the step.
      target: The change wanted, above 0.
      start: First steps, above 0; at most ``most``.
      most: Largest step.
      tolerance: Relative, of the change.
      iterations: Evaluations of ``change``.

    Returns:
      The best step of each direction that was tried.

    Raises:
      FacesemError: On a target or a start that is not positive, or changes that are not finite.

    Example:
      >>> found = calibrate(lambda t: 3 * t**0.5, 6.0, np.ones(1))
      >>> found.steps.round(2).tolist(), found.reached.tolist()
      ([4.0], [True])
    """
    t = np.array(start, np.float64)
    if not target > 0 or t.ndim != 1 or not (t > 0).all():
        raise FacesemError(f"target is {target} and start {start}; expected positive numbers.")
    t = np.minimum(t, most)
    low, high = np.zeros_like(t), np.full_like(t, np.inf)
    aim = np.log(target)
    best, best_change = t.copy(), np.full_like(t, np.nan)
    last_t = last_c = None
    for _ in range(iterations):
        c = np.asarray(change(t), np.float64)
        if not np.isfinite(c).all():
            raise FacesemError("the change of the pictures is not finite at some step.")
        better = ~(np.abs(best_change - target) <= np.abs(c - target))
        best, best_change = np.where(better, t, best), np.where(better, c, best_change)
        log_t, log_c = np.log(t), np.log(np.maximum(c, 1e-12))
        if (np.abs(best_change / target - 1) <= tolerance).all():
            break
        slope = np.ones_like(t)
        if last_t is not None:
            moved = np.abs(log_t - last_t) > 1e-9
            slope[moved] = (log_c - last_c)[moved] / (log_t - last_t)[moved]
        # A flat or falling response would send the secant off; at most a factor of 8 at once.
        step = (aim - log_c) / np.clip(slope, 0.25, 4)
        last_t, last_c = log_t, log_c
        low = np.where(c < target, np.maximum(low, t), low)
        high = np.where(c > target, np.minimum(high, t), high)
        t = np.minimum(np.exp(log_t + np.clip(step, -np.log(8), np.log(8))), most)
        bracketed = (0 < low) & (low < high) & (high < np.inf)
        outside = bracketed & ((t <= low) | (t >= high))
        t[outside] = np.sqrt(low * high)[outside]
    return Calibration(best, best_change, np.abs(best_change / target - 1) <= tolerance)
