"""Statistics of an evaluation: how two measurements agree."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from experiments.landmarks import Angles
from facesem_jax.checks import check_shape

#: Yaw is compared within so many degrees to either side.
LIMITS = (15.0, 30.0, 45.0)


class Agreement(NamedTuple):
    """How a measurement follows a reference, over the samples where both are finite.

    Attributes:
      count: Samples used.
      correlation: Pearson's; NaN with fewer than 3 samples or no spread.
      rank_correlation: Spearman's, which a monotone saturation does not lower.
      slope: Of the least-squares line of the measurement on the reference; errors of the reference
        lower it, by the factor of their share in the reference's variance.
      offset: Mean of measurement minus reference.
      spread: Standard deviation of the measurement.
      reference_spread: Standard deviation of the reference.
    """

    count: int
    correlation: float
    rank_correlation: float
    slope: float
    offset: float
    spread: float
    reference_spread: float


class Band(NamedTuple):
    """Agreement where the reference's magnitude lies within a band.

    Attributes:
      low: Lower edge of the band, included.
      high: Upper edge, excluded.
      count: Samples in it, both signs.
      correlation: Pearson's over the samples of both signs, so that the sign alone earns much of
        it in a band far from 0.
      gain: Mean of measurement x sign(reference) over the mean magnitude of the reference: 1 for a
        faithful measurement, lower in the outer bands where the measurement saturates.
      reference: Mean magnitude of the reference.
      reading: Mean of measurement x sign(reference): what such a magnitude is read as.
    """

    low: float
    high: float
    count: int
    correlation: float
    gain: float
    reference: float
    reading: float


def agreement(measured: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"]) -> Agreement:
    """Compares a measurement with a reference in the same unit.

    Args:
      measured: NaN where there is none.
      reference: NaN where there is none.

    Returns:
      The comparison; NaN statistics where there are too few samples or no spread.

    Raises:
      FacesemError: If the shapes differ.
    """
    measured, reference = _both_finite(measured, reference)
    count = len(measured)
    if count < 3:
        return Agreement(count, *[float("nan")] * 6)
    spread, reference_spread = float(measured.std()), float(reference.std())
    return Agreement(
        count,
        _correlation(measured, reference),
        _correlation(rankdata(measured), rankdata(reference)),
        _ratio(_covariance(measured, reference), reference_spread**2),
        float(np.mean(measured - reference)),
        spread,
        reference_spread,
    )


def within(
    measured: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"], limit: float
) -> Agreement:
    """The agreement over the samples whose reference lies within +-limit.

    Args:
      measured: NaN where there is none.
      reference: NaN where there is none.
      limit: In the reference's unit.

    Raises:
      FacesemError: If the shapes differ.
    """
    measured, reference = _both_finite(measured, reference)
    inside = np.abs(reference) <= limit
    return agreement(measured[inside], reference[inside])


def slope_between(
    measured: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"], limit: float
) -> float:
    r"""Slope of two measurements that both err, where what they say together is within +-limit.

    .. math:: \frac{\sigma_m}{\sigma_r} \text{ over } |m / k + r| \le 2 b, \quad
       k = \frac{\sigma_m}{\sigma_r} \text{ over all samples}

    A least-squares line takes its reference for the truth. Where the reference errs too, samples
    that are picked by it are truly nearer to 0 than it says, and where its errors grow outwards,
    as those of faces in profile do, the line bends though neither measurement does. What is picked
    by the mean of both has errors of both in equal shares (Bland and Altman 1986, "Statistical
    methods for assessing agreement between two methods of clinical measurement"), and the slope is
    that of the reduced major axis, which is the same whichever of the two is called the reference.
    It is right where both err by the same share of their spread.

    Args:
      measured: NaN where there is none.
      reference: NaN where there is none.
      limit: b, in the reference's unit.

    Returns:
      The slope, never negative; NaN where there is no spread.

    Raises:
      FacesemError: If the shapes differ.
    """
    measured, reference = _both_finite(measured, reference)
    factor = _axis(measured, reference)
    inside = np.abs(measured + factor * reference) <= 2 * limit * factor
    return _axis(measured[inside], reference[inside])


def bands(
    measured: Float[np.ndarray, " n"],
    reference: Float[np.ndarray, " n"],
    edges: Sequence[float],
) -> list[Band]:
    """The agreement by magnitude of the reference.

    Args:
      measured: NaN where there is none.
      reference: NaN where there is none.
      edges: Edges of the bands, increasing, in the reference's unit.

    Raises:
      FacesemError: If the shapes differ.
    """
    measured, reference = _both_finite(measured, reference)
    magnitude = np.abs(reference)
    result = []
    for low, high in itertools.pairwise(edges):
        inside = (magnitude >= low) & (magnitude < high)
        m, r = measured[inside], reference[inside]
        along = float(np.mean(m * np.sign(r))) if len(m) else float("nan")
        mean = float(np.mean(np.abs(r))) if len(m) else float("nan")
        correlation = agreement(m, r).correlation
        result.append(Band(low, high, len(m), correlation, _ratio(along, mean), mean, along))
    return result


def angle_agreement(measured: dict, reference: dict) -> dict[str, dict]:
    """`agreement` of pitch, yaw and roll, as plain numbers.

    Args:
      measured: Degrees by name, each (n,); NaN where there is none.
      reference: Likewise.
    """
    return {k: agreement(measured[k], reference[k])._asdict() for k in Angles._fields}


def pose_agreement(measured: dict, reference: dict, edges: Sequence[float]) -> dict:
    """How angles follow a reference, and yaw near the front and far from it.

    Args:
      measured: Degrees by name, each (n,); NaN where there is none.
      reference: Likewise.
      edges: Of the bands of the reference's yaw, degrees.

    Returns:
      A tree of plain numbers: ``agreement`` by angle; of yaw ``yaw_within`` and ``yaw_between``
      (`slope_between`) by limit, and ``yaw_reading`` by band.
    """
    yaw = measured["yaw"], reference["yaw"]
    return {
        "agreement": angle_agreement(measured, reference),
        "yaw_within": {f"{limit:g}": within(*yaw, limit)._asdict() for limit in LIMITS},
        "yaw_between": {f"{limit:g}": slope_between(*yaw, limit) for limit in LIMITS},
        "yaw_reading": [band._asdict() for band in bands(*yaw, edges)],
    }


def worst_ranked(
    measured: Float[np.ndarray, " n"], reference: Float[np.ndarray, " n"], count: int
) -> Int[np.ndarray, " m"]:
    """Samples whose rank by the measurement differs most from that by the reference, worst first.

    Ranks, not values: a measurement that merely shrinks or saturates would otherwise show nothing
    but the extremes.

    Args:
      measured: NaN where there is none.
      reference: NaN where there is none.
      count: How many, at most.

    Returns:
      Indices into the arguments.

    Raises:
      FacesemError: If the shapes differ.
    """
    values = _both_finite(measured, reference)
    usable = np.flatnonzero(np.isfinite(measured) & np.isfinite(reference))
    difference = np.abs(np.subtract(*(rankdata(v) for v in values)))
    return usable[np.argsort(-difference, kind="stable")][:count]


def _both_finite(measured, reference):
    check_shape("measured", measured, (None,))
    check_shape("reference", reference, np.shape(measured))
    measured, reference = np.asarray(measured, np.float64), np.asarray(reference, np.float64)
    usable = np.isfinite(measured) & np.isfinite(reference)
    return measured[usable], reference[usable]


def _axis(measured, reference) -> float:
    """Slope of the reduced major axis."""
    if len(measured) < 3:
        return float("nan")
    return _ratio(float(measured.std()), float(reference.std()))


def _covariance(a, b) -> float:
    return float(np.mean((a - a.mean()) * (b - b.mean())))


def _correlation(a, b) -> float:
    # Rounding gives even a constant a standard deviation above 0.
    varies = np.ptp(a) > 0 and np.ptp(b) > 0
    return _ratio(_covariance(a, b), float(a.std() * b.std())) if varies else float("nan")


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")
