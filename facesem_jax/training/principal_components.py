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
      FacesemError: On a wrong shape, values that are not finite, or rows that vary in fewer than
        ``count`` directions.
    """
    check_shape("rows", rows, (None, None))
    rows = np.asarray(rows, np.float64)
    n, f = rows.shape
    if not np.isfinite(rows).all():
        raise FacesemError("rows holds values that are not finite; remove those examples.")
    values = np.zeros(0)
    if 1 <= count <= min(n, f):
        moment = (rows.T @ rows if f <= n else rows @ rows.T) / n
        values, vectors = np.linalg.eigh(moment)
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    if not values.size or not values[-1] > 1e-12 * values[0]:
        raise FacesemError(
            f"{count} principal components were asked for, but {n} examples of {f} numbers vary "
            f"in fewer than {count} directions, or none was asked for; give more examples, or ask "
            "for fewer components, at least 1."
        )
    if f > n:
        # V = X^T U / S; the squares of S are n times these values.
        vectors = rows.T @ vectors / np.sqrt(n * values)
    return vectors / np.sqrt(values)
