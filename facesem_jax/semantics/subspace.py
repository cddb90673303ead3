"""The latents' leading principal components, as a basis for cheaper Jacobians."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape, varies
from facesem_jax.errors import FacesemError


class Subspace(NamedTuple):
    """Where most of W's variation lies; see `principal_subspace`.

    Attributes:
      basis: Orthonormal directions in the columns, those of the largest variance first.
      share: Share of the variance of w that lies in the subspace, 0 to 1.
    """

    basis: Float[Array, "d k"]
    share: Float[Array, ""]


def principal_subspace(ws: Float[Array, "n d"], k: int) -> Subspace:
    r"""The span of the k leading principal components of w.

    A Jacobian along B costs k / d of the whole. What it says about an edit ``w + B c`` is exact;
    nothing is known of directions outside the span, in which w itself varies by 1 - ``share``.
    A direction found in the subspace, ``v = B u``, has the length of u.

    Args:
      ws: Latents, at least 2.
      k: Dimension, 1 to d.

    Returns:
      The basis and the share of variance :math:`\sum_{i \le k} \lambda_i / \sum_i \lambda_i`,
      with :math:`\lambda` the eigenvalues of the covariance.

    Raises:
      FacesemError: On a wrong shape or dtype, k out of range, or latents that do not vary.

    Source:
      Principal components of W as edit directions: Härkönen et al., "GANSpace" (2020),
      section 2.1.

    Example:
      >>> ws = jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [0.0, -0.5]])
      >>> found = principal_subspace(ws, 1)
      >>> jnp.abs(found.basis).tolist(), round(float(found.share), 3)
      ([[1.0], [0.0]], 0.8)
    """
    check_shape("ws", ws, (None, None))
    check_floating("ws", ws)
    n, d = ws.shape
    if not 1 <= k <= d:
        raise FacesemError(f"the subspace has dimension {k}; expected 1 to w_dim = {d}.")
    if n < 2 or not bool(varies(ws, axis=0).any()):
        raise FacesemError(f"{n} latents that do not differ span no subspace; give more samples.")
    # Singular values of the centred latents: squaring them into a covariance would halve the
    # digits.
    _, s, components = jnp.linalg.svd(ws - jnp.mean(ws, axis=0), full_matrices=True)
    energy = jnp.square(s)
    return Subspace(components[:k].T, jnp.sum(energy[:k]) / jnp.sum(energy))
