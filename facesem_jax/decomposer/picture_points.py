"""From a point of the generator's picture to the point of the canonical frame that it shows.

Points are (row, column); a pixel's centre has whole numbers, so that the picture reaches from
-0.5 to its size - 0.5.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facesem_jax.checks import check_shape
from facesem_jax.decomposer.crop import CROPS, CropBox, crop_box
from facesem_jax.decomposer.decomposer import Decomposer
from facesem_jax.decomposer.grid_sample import bilinear_sample
from facesem_jax.decomposer.warp import Warp, canonical_warp


def framed_point(
    point: Float[Array, "2"], box: CropBox | str | None, shape: tuple[int, int], size: int
) -> Float[Array, "2"]:
    """Where a point of the picture lies after `crop_and_resize`.

    ``(point + 1/2) / shape`` is the point as a fraction of the picture; less the box's corner and
    divided by the box's sides it is a fraction of the crop, and ``size`` times that, less 1/2, is
    in its pixels.

    Args:
      point: (row, column) in pixels of the picture.
      box: The crop; ``None`` for the whole picture.
      shape: Height and width of the picture in pixels.
      size: Height and width of the crop in its own pixels.

    Returns:
      (row, column) in pixels of the crop; outside of it where the point is.

    Raises:
      FacesemError: On a wrong shape, or an unknown crop.
    """
    point = jnp.asarray(point, jnp.result_type(float))
    check_shape("point", point, (2,))
    box = CROPS["identity"] if box is None else crop_box(box)
    corner, sides = jnp.array([box.top, box.left]), jnp.array([box.height, box.width])
    return ((point + 0.5) / jnp.array(shape) - corner) / sides * size - 0.5


def canonical_point(
    warp: Warp, point: Float[Array, "2"]
) -> tuple[Float[Array, "2"], Bool[Array, ""]]:
    """The canonical point that a point of the view shows: the warp, bilinear between pixels.

    Args:
      warp: Of one view, with the axis n.
      point: (row, column) in the view's pixels.

    Returns:
      (row, column) in canonical pixels, and whether the view shows the canonical frame there (the
      nearest pixel of the warp's mask decides; nothing outside the view does).

    Raises:
      FacesemError: If the warp is of several views, or the point has another shape.
    """
    point = jnp.asarray(point, warp.u.dtype)
    check_shape("point", point, (2,))
    check_shape("warp.u", warp.u, (1, None, None))
    height, width = warp.u.shape[1:]
    row, column = point[0].reshape(1, 1, 1), point[1].reshape(1, 1, 1)
    maps = jnp.stack([warp.v, warp.u], axis=-1)
    found = bilinear_sample(maps, column, row, padding="border")[0, 0, 0]
    nearest = jnp.round(point).astype(int)
    inside = jnp.all((point >= -0.5) & (point <= jnp.array([height, width]) - 0.5))
    nearest = jnp.clip(nearest, 0, jnp.array([height - 1, width - 1]))
    return found, inside & warp.mask[0, nearest[0], nearest[1]]


@partial(jax.jit, static_argnames=("box", "shape"))
def canonical_point_of(
    decomposer: Decomposer,
    framed: Float[Array, "1 h w 3"],
    point: Float[Array, "2"],
    box: CropBox | None,
    shape: tuple[int, int],
) -> tuple[Float[Array, "2"], Bool[Array, ""]]:
    """The canonical point that a point of a generator's picture shows: crop, then view.

    Args:
      decomposer: Its depth and view say what the picture shows where.
      framed: The picture as the decomposer sees it, see `crop_and_resize`, in [-1, 1].
      point: (row, column) in pixels of the generator's picture.
      box: The crop between them; ``None`` for the whole picture.
      shape: Height and width of the generator's picture in pixels.

    Returns:
      As `canonical_point`.
    """
    size = decomposer.config.image_size
    depth, view = decomposer.depth(framed), decomposer.view(framed)
    warp = canonical_warp(depth, view, decomposer.config)
    return canonical_point(warp, framed_point(point, box, shape, size))
