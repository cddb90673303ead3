"""Principal components of the mean Jacobian: our factorisation without sparsity."""

import numpy as np
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError
from facesem_jax.semantics.discovery.result import Discovered, check_count, discovered


def checked_jacobian(J: Float[Array, "n d"]) -> Float[np.ndarray, "n d"]:
    """J in float64.

    Raises:
      FacesemError: If it is no matrix, zero or not finite.
    """
    J = np.asarray(J, np.float64)
    check_shape("J", J, (None, None))
    if not np.isfinite(J).all() or not J.any():
        raise FacesemError("the Jacobian is zero or not finite.")
    return J


def jacobian_pca_directions(J: Float[Array, "n d"], count: int) -> Discovered:
    r"""The right singular vectors of J: ``U V^T`` of least error, orthogonal and dense.

    Args:
      J: Scaled mean Jacobian.
      count: Number of directions, at most the smaller side of J.

    Returns:
      The directions; the scores are the singular values, decreasing.

    Raises:
      FacesemError: On a wrong shape or count, or a J that is zero or not finite.

    Source:
      Eckart and Young, "The approximation of one matrix by another of lower rank" (1936).

    Example:
      >>> import numpy as np
      >>> found = jacobian_pca_directions(np.array([[0.0, 3.0], [4.0, 0.0], [0.0, 4.0]]), 2)
      >>> found.vectors.round(3).tolist(), found.scores.round(3).tolist()
      ([[0.0, 1.0], [1.0, 0.0]], [5.0, 4.0])
    """
    J = checked_jacobian(J)
    check_count(count, min(J.shape))
    # The Gram matrix would do, at half the digits.
    _, singular, right = np.linalg.svd(J, full_matrices=False)
    return discovered(right[:count], "pca", singular[:count])
