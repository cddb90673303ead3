"""Bilinear sampling of images at fractional coordinates, NHWC."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.errors import FacesemError


def bilinear_sample(
    images: Float[Array, "n h w c"],
    u: Float[Array, "n a b"],
    v: Float[Array, "n a b"],
    *,
    padding: str = "zeros",
) -> Float[Array, "n a b c"]:
    """Samples images at pixel coordinates, (0, 0) being the centre of the first pixel.

    Differentiable in the images and in the coordinates (where these are not integers).

    Args:
      images: (n, h, w, c).
      u: Horizontal coordinate in pixels.
      v: Vertical coordinate in pixels.
      padding: "zeros" outside the image, or "border" to repeat the outer pixels.

    Returns:
      (n, a, b, c).

    Raises:
      FacesemError: On another padding.
    """
    n, h, w, c = images.shape
    if padding == "border":
        u, v = jnp.clip(u, 0, w - 1), jnp.clip(v, 0, h - 1)
        pad = 0
    elif padding == "zeros":
        # Beyond one pixel outside all taps are zero, so that clipping there changes nothing and
        # keeps the integers in range whatever the coordinates.
        u, v = jnp.clip(u, -1, w), jnp.clip(v, -1, h)
        images = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        pad = 1
    else:
        raise FacesemError(f'padding is {padding!r}; use "zeros" or "border".')
    rows, cols = h + 2 * pad, w + 2 * pad
    # The cell may not be the last row or column, whose neighbour is missing.
    left = jnp.clip(jnp.floor(u), -pad, w + pad - 2)
    top = jnp.clip(jnp.floor(v), -pad, h + pad - 2)
    tu, tv = (u - left)[..., None], (v - top)[..., None]
    start = (jnp.arange(n) * (rows * cols))[:, None, None]
    index = start + (top.astype(jnp.int32) + pad) * cols + left.astype(jnp.int32) + pad
    flat = jnp.asarray(images).reshape(-1, c)

    def tap(offset):
        return flat.at[index + offset].get(mode="clip")

    upper = tap(0) * (1 - tu) + tap(1) * tu
    lower = tap(cols) * (1 - tu) + tap(cols + 1) * tu
    return upper * (1 - tv) + lower * tv


def grid_sample(
    images: Float[Array, "n h w c"],
    grid: Float[Array, "n a b 2"],
    *,
    align_corners: bool = False,
    padding: str = "zeros",
) -> Float[Array, "n a b c"]:
    """Samples images on a grid in [-1, 1], as PyTorch's function of that name.

    Args:
      images: (n, h, w, c).
      grid: (x, y); -1 and 1 are the centres of the outer pixels with ``align_corners``, their
        outer edges without.
      align_corners: See ``grid``.
      padding: "zeros" or "border".

    Returns:
      (n, a, b, c).

    Raises:
      FacesemError: On wrong shapes, dtypes or padding.
    """
    check_shape("images", images, (None, None, None, None))
    check_shape("grid", grid, (images.shape[0], None, None, 2))
    check_floating("images", images)
    check_floating("grid", grid)
    _, h, w, _ = images.shape
    if align_corners:
        u = (grid[..., 0] + 1) * ((w - 1) / 2)
        v = (grid[..., 1] + 1) * ((h - 1) / 2)
    else:
        u = ((grid[..., 0] + 1) * w - 1) / 2
        v = ((grid[..., 1] + 1) * h - 1) / 2
    return bilinear_sample(images, u, v, padding=padding)
