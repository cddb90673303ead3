"""Principal components at unit variance, in float64 on the host."""

import numpy as np
from jaxtyping import Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError


def unit_components(rows: Float[np.ndarray, "n f"], count: int) -> Float[np.ndarray, "f k"]:
    r"""Leading principal components of centred rows, scaled to unit variance of the scores.

    .. math:: B = \sqrt{n}\, V_k S_k^{-1}, \quad X = U S V^\top

    so that :math:`(X B)^\top (X B) = n I`. Found from the eigenvectors of the smaller of
    :math:`X^\top X` and :math:`X X^\top`.

    Args:
      rows: X, of zero mean over what it stands for; nothing is subtracted here.
      count: k, how many components, the strongest first; each up to its sign.

    Returns:
      B, float64: ``rows @ B`` are the scores.

    Raises:
      FacesemError: On a wrong shape, values that are not finite, a count below 1, or rows that vary
        in fewer than ``count`` directions.
    """
    check_shape("rows", rows, (None, None))
    rows = np.asarray(rows, np.float64)
    n, f = rows.shape
    if not np.isfinite(rows).all():
        raise FacesemError("rows holds values that are not finite; remove those examples.")
    if not 1 <= count <= min(n, f):
        raise FacesemError(
            f"{count} principal components of {n} examples with {f} numbers each: ask for 1 to "
            f"{min(n, f)}, or give more examples."
        )
    values, vectors = np.linalg.eigh((rows.T @ rows if f <= n else rows @ rows.T) / n)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    if not values[-1] > 1e-12 * values[0]:
        raise FacesemError(
            f"{count} principal components of {n} examples, which vary in fewer than {count} "
            "directions: ask for fewer, or give more examples."
        )
    if f > n:
        # V = X^T U / S; the squares of S are n times these values.
        vectors = rows.T @ vectors / np.sqrt(n * values)
    return vectors / np.sqrt(values)
