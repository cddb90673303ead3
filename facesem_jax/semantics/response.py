"""What an edit really does: response along it, and what else it moves."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


class Response(NamedTuple):
    """How a semantic answers to an edit of itself, in the semantic's unit.

    Attributes:
      mean: Mean change over faces, per amount.
      spread: Standard deviation of the change over faces, per amount.
      gain: Change per unit asked at the smallest amounts, 1 where a first-order step does what it
        says.
      nonlinearity: Root mean square of ``mean - gain * amount`` over that of ``gain * amount``; 0
        for a straight line.
      linear_to: Largest amount asked up to which, on both sides, the mean change stays within a
        tenth of ``gain * amount``; 0 where it never does.
    """

    mean: Float[np.ndarray, " t"]
    spread: Float[np.ndarray, " t"]
    gain: float
    nonlinearity: float
    linear_to: float


_WITHIN = 0.1


def response(amounts: Float[np.ndarray, " t"], change: Float[np.ndarray, "t n"]) -> Response:
    r"""Response of a semantic to a long edit along its own direction.

    ``gain`` is the least-squares slope through 0 over the smallest positive and the largest
    negative amount, ``sum(a c) / sum(a^2)``, with c the mean change: for that pair the central
    difference.

    Args:
      amounts: What was asked, in the semantic's unit, on both sides of 0.
      change: ``y(w + amount * step) - y(w)`` per face, in the same unit.

    Returns:
      The response's numbers.

    Raises:
      FacesemError: On wrong shapes, values that are not finite, or amounts on one side only.

    Example:
      >>> amounts = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
      >>> found = response(amounts, 0.9 * amounts[:, None])
      >>> round(found.gain, 6), round(found.nonlinearity, 6), found.linear_to
      (0.9, 0.0, 2.0)
    """
    amounts, change = np.asarray(amounts, np.float64), np.asarray(change, np.float64)
    check_shape("amounts", amounts, (None,))
    check_shape("change", change, (len(amounts), None))
    if not (np.isfinite(amounts).all() and np.isfinite(change).all()):
        raise FacesemError("amounts or change hold NaN or infinite values.")
    above, below = amounts[amounts > 0], amounts[amounts < 0]
    if not above.size or not below.size:
        raise FacesemError("the amounts lie on one side of 0; a response needs both.")
    mean = change.mean(axis=1)
    near = (amounts == above.min()) | (amounts == below.max())
    gain = float(np.sum(amounts[near] * mean[near]) / np.sum(np.square(amounts[near])))
    line = gain * amounts
    size = np.sqrt(np.mean(np.square(line)))
    off = np.sqrt(np.mean(np.square(mean - line)))
    fits = np.abs(mean - line) <= _WITHIN * np.abs(line)
    linear_to = 0.0
    for amount in np.unique(np.abs(amounts[amounts != 0])):
        if not fits[np.abs(amounts) == amount].all():
            break
        linear_to = float(amount)
    return Response(
        mean, change.std(axis=1), gain, float(off / size) if size > 0 else np.nan, linear_to
    )


class Leakage(NamedTuple):
    """What an edit of each semantic does to all of them, in spreads.

    Attributes:
      mean: Signed mean change of semantic j when i is edited, over j's spread, (i, j).
      absolute: The same of the absolute change of single faces: what averages out over faces
        counts here.
    """

    mean: Float[np.ndarray, "k k"]
    absolute: Float[np.ndarray, "k k"]


def leakage(
    above: Float[np.ndarray, "k n k"],
    below: Float[np.ndarray, "k n k"],
    spreads: Float[np.ndarray, " k"],
) -> Leakage:
    """Leakage of edits by plus and minus one spread of the edited semantic.

    ``mean[i, j] = mean_n (above - below)[i, n, j] / (2 spreads[j])``: 1 on the diagonal for a
    perfect edit, 0 beside it for one that leaves the rest alone.

    Args:
      above: Change of semantic j of face n when semantic i is edited by its own spread.
      below: The same for minus the spread.
      spreads: Standard deviations of the semantics over the generator's faces, each in its unit.

    Raises:
      FacesemError: On wrong shapes or a spread that is not positive.

    Example:
      >>> change = np.array([[[2.0, 0.5]], [[0.0, 4.0]]])
      >>> leakage(change, -change, np.array([2.0, 4.0])).mean
      array([[1.   , 0.125],
             [0.   , 1.   ]])
    """
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    spreads = np.asarray(spreads, np.float64)
    check_shape("spreads", spreads, (None,))
    k = len(spreads)
    check_shape("above", above, (k, None, k))
    check_shape("below", below, above.shape)
    if not (np.isfinite(spreads).all() and (spreads > 0).all()):
        raise FacesemError("spreads hold a value that is no positive number.")
    half = (above - below) / 2
    return Leakage(half.mean(axis=1) / spreads, np.abs(half).mean(axis=1) / spreads)
