"""Patches of pictures' Laplacian bands along directions, differentiable in the pictures."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from facesem_jax.checks import check_shape
from facesem_jax.conv import PRECISION
from facesem_jax.metrics.laplacian_patches import PATCH, SMALLEST, band_sizes

_FILTER = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def _filtered(images):
    for axis in (1, 2):
        size = images.shape[axis]
        padding = [(2, 2) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(images, padding, mode="reflect")
        images = sum(
            weight * jax.lax.slice_in_dim(padded, k, k + size, axis=axis)
            for k, weight in enumerate(_FILTER)
        )
    return images


def _enlarged(images):
    n, h, w, c = images.shape
    spread = jnp.zeros((n, h, 2, w, 2, c), images.dtype).at[:, :, 0, :, 0].set(images)
    return 4 * _filtered(spread.reshape(n, 2 * h, 2 * w, c))


def laplacian_bands(
    images: Float[Array, "n h w c"], smallest: int = SMALLEST
) -> list[Float[Array, "n hs ws c"]]:
    """`facesem_jax.metrics.laplacian_patches.laplacian_pyramid`, to be differentiated.

    Args:
      images: Any range; height and width are ``smallest`` times the same power of 2.
      smallest: Pixels per side of the last level.

    Returns:
      The levels from fine to coarse; enlarged and added up, they give the pictures back.

    Raises:
      FacesemError: If the size does not fit.

    Source:
      Burt and Adelson (1983); Karras et al., arXiv 1710.10196, section 5.
    """
    check_shape("images", images, (None, None, None, None))
    bands = [images]
    for _ in band_sizes(images.shape[1], images.shape[2], smallest)[1:]:
        smaller = _filtered(bands[-1])[:, ::2, ::2]
        bands[-1] = bands[-1] - _enlarged(smaller)
        bands.append(smaller)
    return bands


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
      bands: Of `laplacian_bands`.
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
