"""How well a linear function of the latents predicts what is seen in the faces."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.metrics.bootstrap import Interval
from facesem_jax.semantics.environment import DEFAULT_RIDGE, ridge_regression

_LEAST = 8


def linear_predictability(
    ws: Float[np.ndarray, "n d"],
    values: Mapping[str, Float[np.ndarray, "n ..."]],
    *,
    heldout: float = 0.25,
    ridge: float = DEFAULT_RIDGE,
    resamples: int = 500,
    seed: int = 0,
) -> dict[str, Interval]:
    r"""Held-out R^2 of a ridge regression of each value on the latents.

    .. math:: R^2 = 1 - \frac{\sum_i \|y_i - v w_i - c\|^2}{\sum_i \|y_i - \bar y\|^2}

    Fitted on the first samples where latents and values are finite, scored on the last: give
    independent draws. A value of several columns has one R^2 for all of them together.

    Args:
      ws: Latents.
      values: Arrays (n,) or (n, k) by name, NaN where there is none.
      heldout: Share of the samples that score.
      ridge: As for `ridge_regression`.
      resamples: Draws of the scored samples, for the 95 % interval.
      seed: Seeds them.

    Returns:
      By name R^2, at most 1, negative if worse than the mean, 0 for a constant; with its interval
      over the scored faces (not over other fits).

    Raises:
      FacesemError: If shapes differ or too few samples are finite.

    Source:
      Zheng et al. (CVPR 2021) presuppose a W that holds semantics linearly; this measures it.

    Example:
      >>> w = np.random.default_rng(0).normal(size=(400, 3))
      >>> found = linear_predictability(w, {"yaw": 20 * w[:, 0], "other": w[:, 1] * w[:, 2]})
      >>> round(found["yaw"].mean, 2), found["other"].mean < 0.1
      (1.0, True)
    """
    ws = np.asarray(ws, np.float64)
    check_shape("ws", ws, (None, None))
    if not values:
        raise FacesemError("there is no value to predict.")
    columns = {}
    for name, value in values.items():
        value = np.asarray(value, np.float64)
        if value.ndim > 1:
            check_shape(name, value, (len(ws), None))
        else:
            check_shape(name, value, (len(ws),))
        columns[name] = value.reshape(len(ws), -1)
    ys = np.concatenate(list(columns.values()), axis=1)
    usable = np.isfinite(ys).all(axis=1) & np.isfinite(ws).all(axis=1)
    count = int(usable.sum())
    split = count - round(count * heldout)
    if count < _LEAST or not 2 <= split <= count - 2:
        raise FacesemError(
            f"{count} of {len(ws)} samples have all values; a regression needs at least {_LEAST}, "
            f"and 2 on either side of the split (heldout is {heldout})."
        )
    ws, ys = ws[usable], ys[usable]
    # Centred before float32 cuts digits off.
    ws, ys = ws - ws[:split].mean(axis=0), ys - ys[:split].mean(axis=0)
    fitted = ridge_regression(np.float32(ws[:split]), np.float32(ys[:split]), ridge)
    v, intercept = (np.asarray(a, np.float64) for a in fitted)
    scored = ys[split:]
    residual = (scored - ws[split:] @ v.T - intercept) ** 2
    total = (scored - scored.mean(axis=0)) ** 2
    draws = np.random.default_rng(seed).integers(0, len(scored), (resamples, len(scored)))
    found, at = {}, 0
    for name, column in columns.items():
        part = slice(at, at + column.shape[1])
        at += column.shape[1]
        found[name] = _interval(residual[:, part].sum(axis=1), total[:, part].sum(axis=1), draws)
    return found


def _interval(residual, total, draws) -> Interval:
    if not total.sum() > 0:
        return Interval(0.0, 0.0, 0.0)
    sums = total[draws].sum(axis=1)
    shares = 1 - residual[draws].sum(axis=1)[sums > 0] / sums[sums > 0]
    low, high = np.percentile(shares, [2.5, 97.5]) if len(shares) else (np.nan, np.nan)
    return Interval(float(1 - residual.sum() / total.sum()), float(low), float(high))
