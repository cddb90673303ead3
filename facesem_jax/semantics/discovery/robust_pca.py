"""Robust PCA: a matrix as low rank plus sparse."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


class RobustPca(NamedTuple):
    """Outcome of `robust_pca`: ``M = low_rank + sparse``.

    Attributes:
      low_rank: L.
      sparse: S.
      rank: Number of singular values of L that the thresholding left.
      iterations: Steps taken.
      residual: ``||M - L - S||_F / ||M||_F`` at the end.
    """

    low_rank: Float[np.ndarray, "m n"]
    sparse: Float[np.ndarray, "m n"]
    rank: int
    iterations: int
    residual: float


def robust_pca(
    M: Float[np.ndarray, "m n"],
    weight: float | None = None,
    *,
    max_iterations: int = 2000,
    tolerance: float = 1e-6,
) -> RobustPca:
    r"""Principal component pursuit by the alternating direction method of multipliers.

    .. math::
      \min_{L, S} \|L\|_* + \lambda \|S\|_1 \quad \text{s.t. } L + S = M

    in float64: the multiplier sums up small residuals.

    Args:
      M: The matrix.
      weight: lambda; ``None`` for ``1 / sqrt(max(m, n))``, for which recovery is proved.
      max_iterations: Most steps.
      tolerance: Stop at this relative residual.

    Returns:
      The two parts.

    Raises:
      FacesemError: On a wrong shape, a matrix that is zero or not finite, or a weight <= 0.

    Source:
      Candès, Li, Ma and Wright, "Robust principal component analysis?" (2011), section 5,
      algorithm 1 with mu = m n / (4 sum |M_ij|).

    Example:
      >>> import numpy as np
      >>> M = np.ones((20, 20))
      >>> M[3, 5] += 4.0
      >>> found = robust_pca(M)
      >>> found.rank, found.sparse[3, 5].round(3).item()
      (1, 4.0)
    """
    M = np.asarray(M, np.float64)
    check_shape("M", M, (None, None))
    size = np.linalg.norm(M)
    if not np.isfinite(size) or size == 0:
        raise FacesemError("the matrix of robust PCA is zero or not finite.")
    if weight is None:
        weight = 1 / np.sqrt(max(M.shape))
    if not weight > 0:
        raise FacesemError(f"the weight of the sparse part is {weight}; expected more than 0.")
    step = 4 * np.abs(M).mean()  # 1 / mu
    S, multiplier = np.zeros_like(M), np.zeros_like(M)
    if max_iterations < 1:
        raise FacesemError(f"max_iterations is {max_iterations}; expected at least 1.")
    iterations = 0
    while iterations < max_iterations:
        iterations += 1
        left, singular, right = np.linalg.svd(M - S + step * multiplier, full_matrices=False)
        kept = np.maximum(singular - step, 0)
        rank = int(np.count_nonzero(kept))
        L = (left[:, :rank] * kept[:rank]) @ right[:rank]
        free = M - L + step * multiplier
        S = np.sign(free) * np.maximum(np.abs(free) - step * weight, 0)
        residual = M - L - S
        multiplier += residual / step
        relative = float(np.linalg.norm(residual) / size)
        if relative < tolerance:
            break
    return RobustPca(L, S, rank, iterations, relative)
