"""Independent components of the mean Jacobian, by symmetric FastICA.

Some forty lines of our own rather than scikit-learn's, so that the comparison needs no package
that the library does not have; the tests hold it against planted sources.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.semantics.discovery.jacobian_pca import checked_jacobian
from facesem_jax.semantics.discovery.result import Discovered, check_count, discovered


class Ica(NamedTuple):
    """Outcome of `fast_ica`: ``X - mean(X) = sources @ mixing^T`` within the whitened subspace.

    Attributes:
      sources: Unit variance, one column each.
      mixing: Columns: what one unit of a source adds to an observation.
      converged: Whether the rotation settled within the iterations.
    """

    sources: Float[np.ndarray, "n k"]
    mixing: Float[np.ndarray, "d k"]
    converged: bool


def fast_ica(
    X: Float[np.ndarray, "n d"],
    count: int,
    seed: int = 0,
    *,
    max_iterations: int = 500,
    tolerance: float = 1e-6,
) -> Ica:
    r"""Symmetric FastICA with the contrast ``log cosh``.

    The centred observations are whitened to ``count`` principal components Z; then all rows of W
    take the fixed-point step at once and are made orthonormal again:

    .. math::
      W \leftarrow \tfrac1n g(Z W^\top)^\top Z - \mathrm{diag}(\tfrac1n \sum g'(Z W^\top)) W,
      \quad W \leftarrow (W W^\top)^{-1/2} W, \quad g = \tanh

    Args:
      X: Observations in the rows.
      count: Number of sources, at most the rank of the centred X.
      seed: Seeds the start, a random rotation.
      max_iterations: Most steps.
      tolerance: Stop when every row turns by less than this, as 1 - |cos|.

    Returns:
      The sources and how they mix, in no particular order.

    Raises:
      FacesemError: On a wrong shape or count.

    Source:
      Hyvärinen, "Fast and robust fixed-point algorithms for independent component analysis" (1999),
      equations 20, 44 and 45.

    Example:
      >>> import numpy as np
      >>> sources = np.random.default_rng(0).uniform(-1, 1, (4000, 2))
      >>> found = fast_ica(sources @ np.array([[1.0, 1.0], [0.0, 1.0]]), 2)
      >>> unit = abs(found.mixing / np.linalg.norm(found.mixing, axis=0))  # (1, 1) and (0, 1).
      >>> unit[:, unit[0].argsort()].round(1).tolist()
      [[0.0, 0.7], [1.0, 0.7]]
    """
    X = np.asarray(X, np.float64)
    check_shape("X", X, (None, None))
    centred = X - X.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    rank = int(np.sum(singular > singular[0] * max(X.shape) * np.finfo(float).eps))
    check_count(count, rank)
    root = np.sqrt(len(X))
    Z = left[:, :count] * root
    W = _orthonormal(np.random.default_rng(seed).normal(size=(count, count)))
    converged = False
    for _ in range(max_iterations):
        g = np.tanh(Z @ W.T)
        new = _orthonormal(g.T @ Z / len(Z) - np.mean(1 - g**2, axis=0)[:, None] * W)
        turned = np.max(1 - np.abs(np.sum(new * W, axis=1)))
        W = new
        if turned < tolerance:
            converged = True
            break
    return Ica(Z @ W.T, (right[:count].T * (singular[:count] / root)) @ W.T, converged)


def jacobian_ica_directions(J: Float[Array, "n d"], count: int, seed: int = 0) -> Discovered:
    """Directions whose maps over the pixels are as independent as can be.

    The rows of J (one per pixel and channel) are the observations, so the sources are maps and the
    columns of the mixing matrix are directions of W, as in ``J ~ U V^T``.

    Args:
      J: Scaled mean Jacobian.
      count: Number of directions.
      seed: Seeds the start.

    Returns:
      The directions; the scores are the lengths of the mixing columns before normalisation (the
      root-mean-square of what the component adds to a row of J), decreasing.

    Raises:
      FacesemError: On a wrong shape or count, or a J that is zero or not finite.

    Source:
      See `fast_ica`.

    Example:
      >>> import numpy as np
      >>> maps = np.random.default_rng(0).laplace(size=(3000, 2)) * [1.0, 2.0]
      >>> found = jacobian_ica_directions(maps, 2)
      >>> (found.vectors.round(1) + 0).tolist()
      [[0.0, 1.0], [1.0, 0.0]]
    """
    found = fast_ica(checked_jacobian(J), count, seed)
    lengths = np.linalg.norm(found.mixing, axis=0)
    order = np.argsort(-lengths, kind="stable")
    return discovered(found.mixing[:, order].T, "ica", lengths[order])


def _orthonormal(W):
    """``(W W^T)^{-1/2} W``: the polar factor."""
    left, _, right = np.linalg.svd(W)
    return left @ right
