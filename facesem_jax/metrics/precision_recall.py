"""Precision and recall of a generator: how much of its faces, and of the real ones, is covered."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError

_ROWS = 1000


class Coverage(NamedTuple):
    """Shares in 0 .. 1.

    Attributes:
      precision: Of generated samples inside the real ones' manifold: realistic.
      recall: Of real samples inside the generated ones' manifold: none left out.
    """

    precision: float
    recall: float


def neighbour_radii(features: Float[np.ndarray, "n d"], k: int = 3) -> Float[np.ndarray, " n"]:
    """Distance of every sample to its k-th nearest other sample, squared.

    Args:
      features: Samples.
      k: Which neighbour, from 1.

    Raises:
      FacesemError: If there are no k others.
    """
    check_shape("features", features, (None, None))
    if not 1 <= k < len(features):
        raise FacesemError(
            f"k is {k} with {len(features)} samples; expected 1 to their number - 1."
        )
    found = []
    for start in range(0, len(features), _ROWS):
        squared = _squared_distances(features[start : start + _ROWS], features)
        rows = np.arange(len(squared))
        squared[rows, start + rows] = np.inf
        found.append(np.partition(squared, k - 1, axis=1)[:, k - 1])
    return np.concatenate(found)


def inside(
    samples: Float[np.ndarray, "m d"],
    features: Float[np.ndarray, "n d"],
    radii: Float[np.ndarray, " n"],
) -> Bool[np.ndarray, " m"]:
    """Whether samples lie in the union of the balls around others.

    Args:
      samples: To be tested.
      features: Centres.
      radii: Squared radii, from `neighbour_radii`.
    """
    parts = [
        (_squared_distances(samples[s : s + _ROWS], features) <= radii).any(axis=1)
        for s in range(0, len(samples), _ROWS)
    ]
    return np.concatenate(parts)


def precision_recall(
    real: Float[np.ndarray, "n d"], generated: Float[np.ndarray, "m d"], k: int = 3
) -> Coverage:
    r"""Improved precision and recall.

    The manifold of a set is the union of the balls around its samples that reach to their k-th
    nearest neighbours:

    .. math::
      \text{precision} = \frac1m \sum_j 1[\exists i: \|g_j - r_i\| \le \rho_k(r_i)], \quad
      \text{recall} = \frac1n \sum_i 1[\exists j: \|r_i - g_j\| \le \rho_k(g_j)]

    Two independent samples of one distribution stay below 1, the more so the more dimensions it
    has: compare with two samples of the real one. Both depend on the sizes of the sets.

    Args:
      real: Features.
      generated: Features.
      k: Neighbours that make a manifold.

    Raises:
      FacesemError: If the features' sizes differ, or a set has no k + 1 samples.

    Source:
      Kynkäänniemi et al., arXiv 1904.06991, equations 1 and 2.

    Example:
      >>> rng = np.random.default_rng(0)
      >>> real = np.concatenate([rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 20])
      >>> found = precision_recall(real, rng.normal(size=(400, 2)))  # One of two modes.
      >>> found.precision > 0.9, 0.4 < found.recall < 0.6
      (True, True)
    """
    real, generated = np.asarray(real, np.float64), np.asarray(generated, np.float64)
    check_shape("real", real, (None, None))
    check_shape("generated", generated, (None, real.shape[1]))
    return Coverage(
        float(inside(generated, real, neighbour_radii(real, k)).mean()),
        float(inside(real, generated, neighbour_radii(generated, k)).mean()),
    )


def _squared_distances(a, b):
    # Float64: the difference of large squares would cost float32 the small distances.
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    squares = np.sum(a * a, axis=1)[:, None] + np.sum(b * b, axis=1)
    return np.maximum(squares - 2 * a @ b.T, 0)
