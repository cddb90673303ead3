"""Kernel distance of two samples: KID."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError

_ROWS = 2000


class KernelDistance(NamedTuple):
    """An estimate and its uncertainty.

    Attributes:
      value: Unbiased, so below 0 about half the time where the distributions are equal.
      error: Standard error, from estimates on disjoint blocks; NaN with fewer than two of them.
    """

    value: float
    error: float


def polynomial_mmd(a: Float[np.ndarray, "n d"], b: Float[np.ndarray, "m d"]) -> float:
    r"""Squared maximum mean discrepancy with a cubic kernel, unbiased.

    .. math::
      \frac{\sum_{i \ne j} k(a_i, a_j)}{n (n - 1)} + \frac{\sum_{i \ne j} k(b_i, b_j)}{m (m - 1)}
      - \frac{2 \sum_{ij} k(a_i, b_j)}{n m}, \quad k(x, y) = (x \cdot y / d + 1)^3

    Args:
      a: Features.
      b: Features of the other sample.

    Raises:
      FacesemError: If the features' sizes differ, or a sample has fewer than 2 rows.

    Source:
      Gretton et al. (2012), lemma 6; Bińkowski et al., arXiv 1801.01401, section 4.

    Example:
      >>> a = np.array([[0.0], [0.0]])
      >>> polynomial_mmd(a, a + 1)  # Kernels 1 and 8 within, 1 across: 1 + 8 - 2.
      7.0
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    check_shape("a", a, (None, None))
    check_shape("b", b, (None, a.shape[1]))
    if min(len(a), len(b)) < 2:
        raise FacesemError(f"the samples have {len(a)} and {len(b)} rows; expected at least 2.")
    own = sum(
        (_kernel_sum(x, x) - np.sum((np.sum(x * x, axis=1) / x.shape[1] + 1) ** 3))
        / (len(x) * (len(x) - 1))
        for x in (a, b)
    )
    return float(own - 2 * _kernel_sum(a, b) / (len(a) * len(b)))


def kernel_distance(
    real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], block: int = 1000
) -> KernelDistance:
    """The kernel inception distance's estimator, in any feature space.

    The value is the estimate from all pairs; the paper's mean over random subsets of 1000 has the
    same expectation and more noise. Features are divided by one number, the root mean square of the
    real ones' coordinates: the kernel's "+ 1" fits Inception's, and would drown smaller ones.

    Args:
      real: Features.
      generated: Features.
      block: Rows of a block for the standard error.

    Raises:
      FacesemError: As for `polynomial_mmd`, or if the real features are all 0.

    Source:
      Bińkowski et al., arXiv 1801.01401.

    Example:
      >>> real, more, other = np.random.default_rng(0).normal(size=(3, 400, 8))
      >>> abs(kernel_distance(real, more).value) < 0.1 < kernel_distance(real, other + 1).value
      True
    """
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    scale = float(np.sqrt(np.mean(real**2))) if real.size else 0.0
    if not scale > 0:
        raise FacesemError("the real features are all 0, or there are none.")
    a, b = real / scale, generated / scale
    value = polynomial_mmd(a, b)
    count = min(len(a), len(b)) // block
    parts = [
        polynomial_mmd(a[i * block : (i + 1) * block], b[i * block : (i + 1) * block])
        for i in range(count)
    ]
    error = float(np.std(parts, ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return KernelDistance(value, error)


def _kernel_sum(a, b) -> float:
    return sum(
        float(np.sum((a[s : s + _ROWS] @ b.T / a.shape[1] + 1) ** 3))
        for s in range(0, len(a), _ROWS)
    )
