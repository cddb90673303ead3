"""Pictures split into bands, from fine to coarse."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_shape
from facesem_jax.errors import FacesemError

_FILTER = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
SMALLEST = 16
"""Pixels per side of the pyramid's last level."""


def laplacian_pyramid(
    images: Float[Array, "n h w c"], smallest: int = SMALLEST
) -> list[Float[Array, "n hs ws c"]]:
    """Splits pictures into bands, from fine to coarse; the last is what is left, low-pass.

    Each level holds the picture less the next level's, enlarged: filtered by [1, 4, 6, 4, 1] / 16
    along both axes, mirrored beyond the border, every second pixel kept. Differentiable.

    Args:
      images: Any range; height and width are ``smallest`` times the same power of 2.
      smallest: Pixels per side of the last level.

    Returns:
      The levels; enlarged and added up, they give the pictures back.

    Raises:
      FacesemError: If the size does not fit.

    Source:
      Burt and Adelson (1983); Karras et al., arXiv 1710.10196, section 5 and its code.

    Example:
      >>> levels = laplacian_pyramid(jnp.ones((1, 64, 64, 3)))
      >>> len(levels), levels[-1].shape
      (3, (1, 16, 16, 3))
    """
    check_shape("images", images, (None, None, None, None))
    size = images.shape[1]
    levels = (size // smallest).bit_length() - 1
    if images.shape[2] != size or levels < 0 or smallest << levels != size:
        raise FacesemError(
            f"the pictures have {size}x{images.shape[2]} pixels; expected squares of "
            f"{smallest} times a power of 2."
        )
    pyramid = [jnp.asarray(images)]
    for _ in range(levels):
        smaller = _filtered(pyramid[-1])[:, ::2, ::2]
        pyramid[-1] = pyramid[-1] - enlarged(smaller)
        pyramid.append(smaller)
    return pyramid


def enlarged(images: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Doubles the size: zeros between the pixels, filtered by the pyramid's filter times 4."""
    n, h, w, c = images.shape
    spread = jnp.zeros((n, h, 2, w, 2, c), images.dtype).at[:, :, 0, :, 0].set(images)
    return 4 * _filtered(spread.reshape(n, 2 * h, 2 * w, c))


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
