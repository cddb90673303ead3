"""Patches of pictures' bands along directions, differentiable in the bands."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.metrics.laplacian_patches import PATCH


def patches_along(
    bands: list[Float[Array, "n hs ws c"]],
    theta: list[Float[Array, "d k"]],
    key: PRNGKeyArray,
) -> list[Float[Array, "n m k"]]:
    """Projections of 7x7 patches of every band.

    The patches of a picture are as many as fit side by side, from a random corner on: the gradient
    is then a reshape's, where that of patches at random places is a scatter, which is slow. The
    finest band gives them once, the next, a quarter as large, from two corners, and so on.

    Args:
      bands: Of `facesem_jax.laplacian_pyramid.laplacian_pyramid`.
      theta: Directions in the columns, d = 7 * 7 * c, one set per band.
      key: Seeds the corners.

    Returns:
      Per band, as many patches of each picture along each direction.

    Raises:
      FacesemError: If the directions do not fit.
    """
    found = []
    for level, (band, lines) in enumerate(zip(bands, theta, strict=True)):
        n, size, _, c = band.shape
        check_shape(f"theta[{level}]", lines, (PATCH * PATCH * c, None))
        along = size // PATCH
        keys = jax.random.split(jax.random.fold_in(key, level), 2**level)
        corners = [jax.random.randint(k, (2,), 0, size - PATCH * along + 1) for k in keys]
        parts = []
        for top, left in corners:
            side = PATCH * along
            window = jax.lax.dynamic_slice(band, (0, top, left, 0), (n, side, side, c))
            tiles = window.reshape(n, along, PATCH, along, PATCH, c).transpose(0, 1, 3, 5, 2, 4)
            tiles = tiles.reshape(n, along * along, -1)
            parts.append(jnp.dot(tiles, lines, precision=PRECISION))
        found.append(jnp.concatenate(parts, axis=1))
    return found


def sorted_in_groups(projections: Float[Array, "n m k"], groups: int) -> Float[Array, "groups s k"]:
    """The values of n / groups pictures at a time, sorted along each direction.

    Args:
      projections: Of `patches_along`.
      groups: A divisor of n.

    Returns:
      s = n / groups * m sorted values per group and direction.
    """
    n, m, k = projections.shape
    return jnp.sort(projections.reshape(groups, n // groups * m, k), axis=1)
