"""Errors of depth maps as Unsup3D's Table 2 has them: SIDE and MAD.

Wu, Rupprecht, Vedaldi (2020, arXiv 1911.11130, section 4.1). Both compare depth in the picture's
view over the pixels that show the object in truth and in the estimate, each mask eroded by a pixel.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facesem_jax.checks import check_floating, check_shape
from facesem_jax.decomposer.camera import Intrinsics
from facesem_jax.decomposer.shading import normals_from_depth


def eroded(mask: Bool[Array, "n h w"]) -> Bool[Array, "n h w"]:
    """Pixels whose 3 x 3 neighbourhood is inside; the image's outer pixels are not.

    Args:
      mask: True inside.

    Raises:
      FacesemError: On another rank.
    """
    check_shape("mask", mask, (None, None, None))
    counted = jax.lax.reduce_window(
        jnp.asarray(mask, jnp.int32), 0, jax.lax.add, (1, 3, 3), (1, 1, 1), "SAME"
    )
    return counted == 9


def scale_invariant_depth_error(
    depth: Float[Array, "n h w"], truth: Float[Array, "n h w"], mask: Bool[Array, "n h w"]
) -> Float[Array, "n"]:
    """SIDE, (mean D^2 - (mean D)^2)^(1/2) with D = log depth - log truth, over a mask.

    A factor on either depth leaves it unchanged.

    Args:
      depth: Estimated depth in the view, positive inside the mask, any unit.
      truth: True depth, likewise.
      mask: The pixels that count.

    Returns:
      One error per image, without unit; NaN for an empty mask.

    Raises:
      FacesemError: On shapes that differ, or integers.
    """
    _check(depth, truth, mask)
    inside = jnp.asarray(mask, depth.dtype)
    # Outside the mask depth may be 0, whose logarithm times 0 is no number.
    difference = jnp.log(jnp.where(mask, depth, 1)) - jnp.log(jnp.where(mask, truth, 1))
    count = jnp.sum(inside, (1, 2))
    mean = jnp.sum(difference * inside, (1, 2)) / count
    # Centred first: the difference of two means of squares would cancel in float32.
    centred = (difference - mean[:, None, None]) * inside
    return jnp.sqrt(jnp.sum(jnp.square(centred), (1, 2)) / count)


def mean_angle_deviation(
    depth: Float[Array, "n h w"],
    truth: Float[Array, "n h w"],
    mask: Bool[Array, "n h w"],
    camera: Intrinsics,
) -> Float[Array, "n"]:
    """MAD, the mean angle between the normals of two depth maps over a mask.

    Args:
      depth: Estimated depth in the view, scene units.
      truth: True depth, likewise.
      mask: The pixels that count, less the image's outer ones, which have no normals; best
        `eroded`, for the normals at a mask's border take in pixels outside it.
      camera: Of the view.

    Returns:
      Degrees, one per image; NaN for a mask without pixels that count.

    Raises:
      FacesemError: On shapes that differ, or integers.
    """
    _check(depth, truth, mask)
    frame = jnp.zeros(mask.shape[1:], bool).at[1:-1, 1:-1].set(True)
    inside = jnp.asarray(mask, bool) & frame
    a, b = (normals_from_depth(d, camera) for d in (depth, truth))
    # atan2 of sine and cosine: the arc cosine of a cosine near 1 has no digits in float32.
    sine = jnp.sqrt(jnp.sum(jnp.square(jnp.cross(a, b)), -1))
    angle = jnp.degrees(jnp.arctan2(sine, jnp.sum(a * b, -1)))
    return jnp.sum(jnp.where(inside, angle, 0), (1, 2)) / jnp.sum(inside, (1, 2))


def _check(depth, truth, mask) -> None:
    check_shape("depth", depth, (None, None, None))
    check_shape("truth", truth, jnp.shape(depth))
    check_shape("mask", mask, jnp.shape(depth))
    check_floating("depth", depth)
    check_floating("truth", truth)
