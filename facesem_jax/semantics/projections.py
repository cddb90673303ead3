"""Euclidean projections onto the constraint sets of the factorisation."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating


def project_unit_sphere(x: Float[Array, "..."], axis: int = 0) -> Float[Array, "..."]:
    r"""Projects every vector along ``axis`` onto the unit sphere.

    .. math::
      \arg\min_{\|z\|_2 = 1} \|z - x\|_2^2 = x / \|x\|_2

    The sphere is not convex: at ``x = 0`` every unit vector is a minimiser. The first coordinate
    vector is returned there, so that the result is always a point of the set and never NaN. A
    vector with a non-finite entry gives NaN.

    Args:
      x: Vectors along ``axis``, any unit.
      axis: The vector axis; the default treats a (d, P) matrix as P columns.

    Returns:
      An array of the shape and dtype of ``x`` with unit vectors along ``axis``.

    Raises:
      FacesemError: If ``x`` is not floating point.

    Source:
      The constraint ``||v_p||_2 = 1`` of Zheng et al. (CVPR 2021), local representations.
    """
    check_floating("x", x)
    # Dividing by the largest magnitude first: squares of entries below 1e-19 underflow in float32
    # and would turn a tiny but perfectly good direction into the zero case.
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    is_zero = largest == 0
    scaled = x / jnp.where(is_zero, 1, largest)
    norm = jnp.sqrt(jnp.sum(scaled * scaled, axis=axis, keepdims=True))
    index = jnp.arange(x.shape[axis]).reshape(
        [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)]
    )
    first = jnp.where(index == 0, jnp.ones_like(x), jnp.zeros_like(x))
    return jnp.where(is_zero, first, scaled / jnp.where(is_zero, 1, norm))
