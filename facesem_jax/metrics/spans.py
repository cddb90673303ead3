"""What a set of directions spans, and how much they repeat one another."""

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


def redundancy(vectors: Float[np.ndarray, "k d"]) -> tuple[float, float]:
    """Largest and mean |cos| of two different directions; 0 for fewer than two.

    Args:
      vectors: Directions in the rows, of any length but 0.

    Raises:
      FacesemError: On a wrong shape or a direction that is zero.

    Example:
      >>> redundancy(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]))
      (1.0, 0.3333333333333333)
    """
    check_shape("vectors", vectors, (None, None))
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise FacesemError("a direction is zero and has no cosine with others.")
    unit = vectors / lengths
    cosines = np.abs(unit @ unit.T)[np.triu_indices(len(unit), 1)]
    if not cosines.size:
        return 0.0, 0.0
    cosines[cosines < 1e-5] = 0  # Rounding, of directions made orthogonal in float32.
    return float(min(cosines.max(), 1.0)), float(cosines.mean())


def explained_share(matrix: Float[np.ndarray, "n d"], vectors: Float[np.ndarray, "k d"]) -> float:
    r"""Share of a matrix's energy within the directions' span, ``||M B||^2 / ||M||^2``.

    B is an orthonormal basis of the span. With M = J* it is the explained variance that
    least-squares maps would reach; with M the centred latents, the share of W's variance.

    Args:
      matrix: Rows in W.
      vectors: Directions in the rows; they may depend on one another.

    Raises:
      FacesemError: On wrong shapes, or a matrix that is zero.

    Example:
      >>> explained_share(np.diag([3.0, 4.0]), np.array([[0.0, 1.0], [0.0, 2.0]]))
      0.64
    """
    check_shape("matrix", matrix, (None, None))
    check_shape("vectors", vectors, (None, matrix.shape[1]))
    matrix = np.asarray(matrix, np.float64)
    total = np.sum(matrix**2)
    if not np.isfinite(total) or total <= 0:
        raise FacesemError("the matrix is zero or not finite; nothing can be explained.")
    _, singular, right = np.linalg.svd(np.asarray(vectors, np.float64), full_matrices=False)
    least = singular.max(initial=0.0) * max(vectors.shape) * np.finfo(np.float64).eps
    basis = right[singular > least]
    return float(np.sum((matrix @ basis.T) ** 2) / total)
